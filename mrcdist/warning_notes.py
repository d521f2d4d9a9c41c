"""Notes on unusual but unambiguous properties of a dataset, which become warnings."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from types import FrameType

from mrcdist.errors import MrcdistWarning
from mrcdist.printable import printable


class Note(str):
    """A sentence about a file; its `code` names the subject, and does not depend on the numbers."""

    code: str

    def __new__(cls, code: str, sentence: str) -> Note:
        """Return the sentence as a note."""
        note = super().__new__(cls, sentence)
        note.code = code
        return note

    def __reduce__(self) -> tuple[type[Note], tuple[str, str]]:
        return Note, (self.code, str(self))


class Notes:
    """Collector of notes on a dataset, or on the file with the given name.

    One collector is passed to all functions that may find something unusual. Iterating yields the
    sentences in the order in which they were added; notes with the same code on several files are
    merged into one, with the number of files.
    """

    def __init__(self, file: str = "") -> None:
        self._file = file
        self._entries: list[str | Notes] = []

    def add(self, *sentences: str) -> None:
        """Add notes, in the order in which they are to be shown."""
        self._entries += sentences

    def of_file(self, name: str, *sentences: str) -> Notes:
        """Return a collector for notes on one of the files, with its first notes."""
        notes = Notes(name)
        notes.add(*sentences)
        self._entries.append(notes)
        return notes

    def __iter__(self) -> Iterator[str]:
        """Yield each sentence once, however many files it applies to."""
        files = [entry._file for entry in self._entries if isinstance(entry, Notes)]
        merged: dict[object, tuple[str, list[str]]] = {}  # the first sentence, and all files
        repeats: Counter[tuple[Notes, str]] = Counter()  # by collector: names may be equal
        for number, (notes, sentence) in enumerate(self._flat()):
            key: object = number
            if notes._file and isinstance(sentence, Note):
                key = (sentence.code, repeats[notes, sentence.code])
                repeats[notes, sentence.code] += 1
            merged.setdefault(key, (sentence, []))[1].append(notes._file)
        for sentence, (file, *others) in merged.values():
            prefix = f"{file}: " if file and file != files[0] else ""
            more = f" (also in {len(others)} other file{'s' * (len(others) > 1)})" if others else ""
            yield f"{prefix}{sentence}{more}"

    def _flat(self) -> Iterator[tuple[Notes, str]]:
        """Yield all sentences, each with its collector."""
        for entry in self._entries:
            if isinstance(entry, Notes):
                yield from entry._flat()
            else:
                yield self, entry


def warn(shown: str, notes: Iterable[str]) -> None:
    """Issue notes on a redacted URL as warnings, at the line outside mrcdist that called it."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mrcdist."):
        frame, level = frame.f_back, level + 1
    for note in notes:
        warnings.warn(f"{shown}: {printable(note)}", MrcdistWarning, stacklevel=level)
