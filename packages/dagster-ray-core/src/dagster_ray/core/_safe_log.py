"""A logger that never raises.

A message to Dagster's log is written into Dagster's event storage before the call returns, so the call raises while
the storage is away. None of our messages is worth a step, or a thread that keeps a cluster alive.
"""

import contextlib
import logging
import sys
from collections.abc import Mapping
from typing import Any, cast

from typing_extensions import override

_FRAMES = 1  # `_log` here; those of the standard library do not count
_FORMAT = logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s")


class _SafeLogger(logging.Logger):
    """Passes messages on to another logger; what that one does not accept goes to stderr."""

    def __init__(self, inner: logging.Logger) -> None:
        super().__init__(inner.name)
        self._inner = inner

    @override
    def isEnabledFor(self, level: int) -> bool:
        return self._inner.isEnabledFor(level)

    @override
    def _log(
        self,
        level: int,
        msg: object,
        args: Any,
        exc_info: Any = None,
        extra: Mapping[str, object] | None = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> None:
        if exc_info is True:  # now: further down it would be the error of the storage
            exc_info = sys.exc_info()
        try:
            self._inner.log(
                level,
                msg,
                *args,
                exc_info=exc_info,
                extra=extra,
                stack_info=stack_info,
                stacklevel=stacklevel + _FRAMES,
            )
        except Exception as error:  # noqa: BLE001 - any storage, handler or formatter can stand behind it
            with contextlib.suppress(Exception):
                _to_stderr(self.makeRecord(self.name, level, "", 0, msg, args, _triple(exc_info)), error)


def safe_log(logger: logging.Logger) -> logging.Logger:
    """Return a logger that passes messages on to `logger` and never raises.

    A message that `logger` does not accept, as when Dagster's storage is away, is written to stderr, which Dagster
    keeps as the step's compute log.
    """
    return logger if isinstance(logger, _SafeLogger) else _SafeLogger(logger)


def _triple(exc_info: Any) -> Any:
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, exc_info.__traceback__
    return cast("object", exc_info) if isinstance(exc_info, tuple) else None


def _to_stderr(record: logging.LogRecord, refusal: Exception) -> None:
    text = f"{_FORMAT.format(record)}\n(The log did not accept this message: {type(refusal).__name__}.)\n"
    sys.stderr.write(text)
    sys.stderr.flush()
