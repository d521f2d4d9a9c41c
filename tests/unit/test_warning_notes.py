"""Notes: their order, and merging of notes on several files."""

from __future__ import annotations

import pickle

from mrcdist.warning_notes import Note, Notes


def test_notes_are_ordered_by_file_and_by_time_of_addition():
    notes = Notes()
    notes.add("first")
    own = notes.of_file("a.mrc")
    notes.add("third", "fourth")
    own.add("second")
    assert list(notes) == ["first", "second", "third", "fourth"]
    notes.add("fifth")
    assert list(notes)[-1] == "fifth"


def test_note_is_a_string_and_is_pickled_with_its_code():
    note = Note("bytes-after-frames", "7 bytes follow")
    assert note == "7 bytes follow"
    copy = pickle.loads(pickle.dumps(note))
    assert (copy, copy.code) == (note, note.code)


def test_repeated_notes_on_the_dataset_are_not_merged():
    notes = Notes()
    notes.add("the same", "the same", Note("code", "the same"), Note("code", "the same"))
    assert list(notes) == ["the same"] * 4


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
    notes.of_file("b.mrc").add(Note("map-missing", "no MAP"), "uncoded")
    notes.of_file("c.mrc").add(Note("map-missing", "no MAP"))
    assert list(notes) == ["b.mrc: no MAP (also in 1 other file)", "b.mrc: uncoded"]


def test_notes_with_the_same_code_on_one_file_are_not_merged():
    notes = Notes()
    notes.of_file("a.mrc").add(Note("pixel-size", "x varies"), Note("pixel-size", "y varies"))
    notes.of_file("b.mrc").add(Note("pixel-size", "x varies"))
    assert list(notes) == ["x varies (also in 1 other file)", "y varies"]


def test_notes_on_a_single_file_do_not_contain_its_name():
    notes = Notes()
    notes.of_file("a.mrc").add(Note("map-missing", "no MAP"), "uncoded")
    assert list(notes) == ["no MAP", "uncoded"]
