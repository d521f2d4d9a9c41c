"""Notes: their order, and merging of notes on several files."""

from __future__ import annotations

import pickle
import re

import pytest

from mrcdist import MrcdistWarning
from mrcdist.warning_notes import Note, Notes, warn
from tests.support.raised import CALLS, NOTE_CODES


def texts(*words):
    """Return a note with a code of its own for each word."""
    return [Note(f"code-{word}", word) for word in words]


def test_notes_are_ordered_by_file_and_by_time_of_addition():
    notes = Notes()
    notes.add(*texts("first"))
    own = notes.of_file("a.mrc")
    notes.add(*texts("third", "fourth"))
    own.add(*texts("second"))
    assert list(notes) == ["first", "second", "third", "fourth"]
    notes.add(*texts("fifth"))
    assert list(notes)[-1] == "fifth"


def test_note_is_a_string_and_is_pickled_with_its_code():
    note = Note("bytes-after-frames", "7 bytes follow")
    assert note == "7 bytes follow"
    copy = pickle.loads(pickle.dumps(note))
    assert (copy, copy.code) == (note, note.code)


def test_equal_notes_on_the_dataset_are_shown_once():
    notes = Notes()
    notes.add(Note("code", "the same"), Note("code", "another"), Note("code", "the same"))
    assert list(notes) == ["the same", "another"]


def test_notes_of_files_and_of_subjects_keep_their_codes():
    notes = Notes()
    for name in ("a.mrc", "b.mrc"):
        notes.of_file(name).add(Note("map-missing", "no MAP"))
    notes.of_file("c.mrc").add(Note("cell-zero", "no cell").about("image"))
    assert [(note.code, note) for note in notes] == [
        ("map-missing", "no MAP (also in 1 other file)"),
        ("cell-zero", "c.mrc: image: no cell"),
    ]


def test_notes_with_the_same_code_on_several_files_are_merged():
    notes = Notes()
    for name, number in (("a.mrc", 3), ("b.mrc", 4), ("c.mrc", 5)):
        notes.of_file(name).add(Note("bytes-after-frames", f"{number} bytes follow"))
    assert list(notes) == ["3 bytes follow (also in 2 other files)"]


def test_notes_on_two_files_of_the_same_name_are_merged():
    notes = Notes()
    for _ in range(2):
        notes.of_file("a.mrc").add(Note("map-missing", "no MAP"))
    assert list(notes) == ["no MAP (also in 1 other file)"]


def test_note_on_a_later_file_contains_its_name():
    notes = Notes()
    for name in ("a.mrc", "b.mrc", "c.mrc"):
        notes.of_file(name)
    notes.of_file("b.mrc").add(Note("map-missing", "no MAP"), *texts("other"))
    notes.of_file("c.mrc").add(Note("map-missing", "no MAP"))
    assert list(notes) == ["b.mrc: no MAP (also in 1 other file)", "b.mrc: other"]


def test_notes_with_the_same_code_on_one_file_are_not_merged():
    notes = Notes()
    notes.of_file("a.mrc").add(Note("pixel-size", "x varies"), Note("pixel-size", "y varies"))
    notes.of_file("b.mrc").add(Note("pixel-size", "x varies"))
    assert list(notes) == ["x varies (also in 1 other file)", "y varies"]


def test_notes_on_a_single_file_do_not_contain_its_name():
    notes = Notes()
    notes.of_file("a.mrc").add(Note("map-missing", "no MAP"), *texts("other"))
    assert list(notes) == ["no MAP", "other"]


def test_warnings_have_the_codes_of_their_notes():
    with pytest.warns(MrcdistWarning) as caught:
        warn("a.mrc", [Note("map-missing", "no\x1b MAP")])
    assert str(caught[0].message) == "a.mrc: no\\x1b MAP"
    assert caught[0].message.code == "map-missing"
    assert caught[0].filename == __file__
    assert pickle.loads(pickle.dumps(caught[0].message)).code == "map-missing"


@pytest.mark.parametrize("code", NOTE_CODES)
def test_code_of_a_note_consists_of_lower_case_words_with_hyphens(code):
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*(-…)?", code)


def test_only_the_collector_of_notes_emits_warnings():
    places = {place.partition(":")[0] for place, name in CALLS if name == "warnings.warn"}
    assert places == {"warning_notes.py"}


def test_notes_are_collected_in_no_other_way():
    """Functions add notes to a collector, or return them as tuples."""
    changes = [
        place for place, name in CALLS if re.fullmatch(r"(\w+\.)*notes\.(append|extend)", name)
    ]
    assert changes == []
