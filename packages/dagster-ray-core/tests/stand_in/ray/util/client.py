"""Nothing is connected by Ray Client here."""

from types import SimpleNamespace

ray = SimpleNamespace(is_connected=lambda: False)
