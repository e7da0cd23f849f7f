"""Whether an unknown word is a known one misspelled. Pure."""

from collections.abc import Iterable

_MOST_EDITS = 2


def misspelled(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is within two edits of an unknown one; None if there is none.

    An edit inserts, deletes or replaces one letter; upper and lower case count as the same. Of a short word less than
    half may differ, since nearly every word of three letters is within two edits of another.
    """
    folded = word.lower()
    most = min(_MOST_EDITS, (len(folded) - 1) // 2)
    found = [(edits, name) for name in known if (edits := _edits(folded, name.lower(), most)) <= most]
    return min(found)[1] if found else None


def _edits(word: str, other: str, most: int) -> int:
    """Return how many edits make one word of the other, or any number above `most`."""
    if abs(len(word) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for n, letter in enumerate(word, start=1):
        above, row = row, [n]
        for m, its in enumerate(other, start=1):
            row.append(min(above[m] + 1, row[m - 1] + 1, above[m - 1] + (letter != its)))
        if min(row) > most:
            return most + 1
    return row[-1]
