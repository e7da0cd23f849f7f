"""From bytes of a growing file to whole lines and text, with a position that resumes. Pure.

A cursor is a value: `feed` returns the next one. What a file has from `position` on is fed once and in order, cut
anywhere; the result does not depend on the cuts.
"""

import codecs
from dataclasses import dataclass, replace

LINE_LIMIT_BYTES = 64 * 2**20
"""A line that is longer is given out in pieces, so that memory is bounded."""
_TEXT_LIMIT_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class LineCursor:
    """Cuts bytes into lines.

    Attributes:
        position: The next byte of the file that is wanted.
        pending: Bytes before `position` that belong to a line without an end yet.
    """

    position: int = 0
    pending: bytes = b""

    @property
    def committed(self) -> int:
        """Where to read again after a restart: the end of the last line that was given out."""
        return self.position - len(self.pending)

    def feed(self, data: bytes) -> "tuple[LineCursor, list[bytes]]":
        """Return the cursor after `data`, and the lines that are whole now, without their ends."""
        whole, found, rest = (self.pending + data).rpartition(b"\n")
        after = self.position + len(data)
        if not found and len(rest) <= LINE_LIMIT_BYTES:
            return LineCursor(after, rest), []
        lines = whole.split(b"\n") if found else []
        if len(rest) > LINE_LIMIT_BYTES:
            return LineCursor(after), [*lines, rest]
        return LineCursor(after, rest), lines

    def end(self) -> "tuple[LineCursor, list[bytes]]":
        """Return the cursor at the end of the file, and the last line if it has no end."""
        return LineCursor(self.position), [self.pending] if self.pending else []


@dataclass(frozen=True, slots=True)
class TextCursor:
    r"""Cuts bytes into text that may be shown at once: whole lines, and progress bars up to their last `\r`.

    Invalid UTF-8 shows as U+FFFD. A character is never torn.

    Attributes:
        position: The next byte of the file that is wanted.
        pending: Bytes before `position` that were not given out yet.
    """

    position: int = 0
    pending: bytes = b""

    @property
    def committed(self) -> int:
        """Where to read again after a restart."""
        return self.position - len(self.pending)

    def feed(self, data: bytes) -> "tuple[TextCursor, str]":
        """Return the cursor after `data`, and the text that may be shown now."""
        joined = self.pending + data
        cut = max(joined.rfind(b"\n"), joined.rfind(b"\r")) + 1
        if len(joined) - cut > _TEXT_LIMIT_BYTES:
            cut = _character_end(joined)
        after = replace(self, position=self.position + len(data), pending=joined[cut:])
        return after, joined[:cut].decode("utf-8", "replace")

    def end(self) -> "tuple[TextCursor, str]":
        """Return the cursor at the end of the file, and what is left."""
        return TextCursor(self.position), self.pending.decode("utf-8", "replace")


def _character_end(data: bytes) -> int:
    """Return where the last whole character of `data` ends."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return len(data) - len(decoder.getstate()[0])
