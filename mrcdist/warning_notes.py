"""Notes: what is unusual but unambiguous about a dataset; public functions `warn` of them."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from types import FrameType

from mrcdist.errors import MrcdistWarning
from mrcdist.printable import printable


class Note(str):
    """A sentence about a file, with a code that is the same for every file of which it is said."""

    code: str

    def __new__(cls, code: str, sentence: str) -> Note:
        """Make the sentence, which is the note."""
        note = super().__new__(cls, sentence)
        note.code = code
        return note

    def __reduce__(self) -> tuple[type[Note], tuple[str, str]]:
        return Note, (self.code, str(self))


class Notes:
    """Collector of notes, of all about a dataset or of those about the file with this name.

    Whoever plans a dataset passes one collector down to all that may find something unusual.
    Iterating gives the sentences in the order in which they were added. What is said of several
    files is given once, with their number.
    """

    def __init__(self, file: str = "") -> None:
        self._file = file
        self._found: list[str | Notes] = []

    def add(self, *sentences: str) -> None:
        """Add notes, in the order in which they are to be shown."""
        self._found += sentences

    def take(self, other: Notes) -> None:
        """Add the notes of another collector, behind the own ones."""
        self._found += other._found

    def of_file(self, name: str, *sentences: str) -> Notes:
        """Return a collector for what one of the dataset's files has of its own."""
        own = Notes(name)
        own.add(*sentences)
        self._found.append(own)
        return own

    def __iter__(self) -> Iterator[str]:
        """Return each sentence once, however many files it is about."""
        files = [found._file for found in self._found if isinstance(found, Notes)]
        said: dict[object, tuple[str, list[str]]] = {}  # what → the first sentence, all files
        times: Counter[tuple[Notes, str]] = Counter()  # two files may have the same name
        for number, (own, sentence) in enumerate(self._all()):
            what: object = number
            if own._file and isinstance(sentence, Note):
                what = (sentence.code, times[own, sentence.code])
                times[own, sentence.code] += 1
            said.setdefault(what, (sentence, []))[1].append(own._file)
        for sentence, (file, *others) in said.values():
            place = f"{file}: " if file and file != files[0] else ""
            more = f" (also in {len(others)} other file{'s' * (len(others) > 1)})" if others else ""
            yield f"{place}{sentence}{more}"

    def _all(self) -> Iterator[tuple[Notes, str]]:
        """Collectors and their sentences."""
        for found in self._found:
            if isinstance(found, Notes):
                yield from found._all()
            else:
                yield self, found


def warn(shown: str, notes: Iterable[str]) -> None:
    """Make warnings of notes about a redacted URL, at the line outside mrcdist that called."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mrcdist."):
        frame, level = frame.f_back, level + 1
    for note in notes:
        warnings.warn(f"{shown}: {printable(note)}", MrcdistWarning, stacklevel=level)
