"""What the tests of the kit share."""

import sys
from pathlib import Path

# The kit imports a backend's test file by path in other processes; its neighbours must be found there, too.
sys.path.insert(0, str(Path(__file__).parent))
