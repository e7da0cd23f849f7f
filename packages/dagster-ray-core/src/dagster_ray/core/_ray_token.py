"""Ray's own places for the token of a cluster."""

from collections.abc import Mapping
from pathlib import Path


def token_of_environment(environ: Mapping[str, str]) -> str | None:
    """Return the token that Ray's own clients would send; None unless RAY_AUTH_MODE is `token`.

    Ray looks at RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH and ~/.ray/auth_token, in this order (run with 2.60).
    """
    if environ.get("RAY_AUTH_MODE") != "token":
        return None
    if token := environ.get("RAY_AUTH_TOKEN"):
        return token
    path = environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        file = Path(path) if path else Path.home() / ".ray" / "auth_token"
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, RuntimeError, UnicodeDecodeError):  # no such file, no home folder, or not a text
        return None
