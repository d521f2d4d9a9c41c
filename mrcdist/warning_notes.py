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

    def about(self, subject: str) -> Note:
        """Return the note with its subject before the sentence."""
        return Note(self.code, f"{subject}: {self}")


class Notes:
    """Collector of notes on a dataset, or on the file with the given name.

    One collector is passed to all functions that may find something unusual. Iterating yields the
    notes in the order in which they were added. Equal notes are shown once; notes with the same
    code on several files are merged into one, with the number of files.
    """

    def __init__(self, *first: Note, file: str = "") -> None:
        self._file = file
        self._entries: list[Note | Notes] = [*first]

    def add(self, *notes: Note) -> None:
        """Add notes, in the order in which they are to be shown."""
        self._entries += notes

    def of_file(self, name: str, *first: Note) -> Notes:
        """Return a collector for notes on one of the files, with its first notes."""
        notes = Notes(*first, file=name)
        self._entries.append(notes)
        return notes

    def __iter__(self) -> Iterator[Note]:
        """Yield each note once, however many files it applies to."""
        files = [entry._file for entry in self._entries if isinstance(entry, Notes)]
        merged: dict[object, tuple[Note, list[str]]] = {}  # the first note, and all files
        repeats: Counter[tuple[Notes, str]] = Counter()  # by collector: names may be equal
        for notes, note in self._flat():
            if not notes._file:
                merged[note] = (note, [""])
                continue
            key = (note.code, repeats[notes, note.code])
            repeats[notes, note.code] += 1
            merged.setdefault(key, (note, []))[1].append(notes._file)
        for note, (file, *others) in merged.values():
            more = f" (also in {len(others)} other file{'s' * (len(others) > 1)})" if others else ""
            merged_note = Note(note.code, f"{note}{more}")
            yield merged_note.about(file) if file and file != files[0] else merged_note

    def _flat(self) -> Iterator[tuple[Notes, Note]]:
        """Yield all notes, each with its collector."""
        for entry in self._entries:
            if isinstance(entry, Notes):
                yield from entry._flat()
            else:
                yield self, entry


def warn(shown: str, notes: Iterable[Note]) -> None:
    """Issue notes on a redacted URL as warnings, at the line outside mrcdist that called it."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mrcdist."):
        frame, level = frame.f_back, level + 1
    for note in notes:
        text = f"{shown}: {printable(note)}"
        warnings.warn(MrcdistWarning(text, note.code), stacklevel=level)
