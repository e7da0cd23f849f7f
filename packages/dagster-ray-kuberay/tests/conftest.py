"""What the tests share."""

import sys
from pathlib import Path

# Tests import the modules beside this file.
sys.path.insert(0, str(Path(__file__).parent))
