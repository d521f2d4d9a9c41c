"""Notes: in their order, and once for what is said of several files."""

from __future__ import annotations

import pickle

from mrcdist.warning_notes import Note, Notes


def test_notes_are_given_in_the_order_in_which_they_were_added():
    notes = Notes()
    notes.add("first")
    own = notes.of_file("a.mrc")
    notes.add("third", "fourth")
    own.add("second")
    assert list(notes) == ["first", "second", "third", "fourth"]
    notes.add("fifth")
    assert list(notes)[-1] == "fifth"


def test_a_note_is_its_sentence():
    note = Note("bytes-after-frames", "7 bytes follow")
    assert note == "7 bytes follow"
    copy = pickle.loads(pickle.dumps(note))
    assert (copy, copy.code) == (note, note.code)


def test_equal_sentences_about_the_whole_are_kept():
    notes = Notes()
    notes.add("the same", "the same", Note("code", "the same"), Note("code", "the same"))
    assert list(notes) == ["the same"] * 4


def test_what_is_said_of_several_files_is_given_once_whatever_its_numbers():
    notes = Notes()
    for name, number in (("a.mrc", 3), ("b.mrc", 4), ("c.mrc", 5)):
        notes.of_file(name).add(Note("bytes-after-frames", f"{number} bytes follow"))
    assert list(notes) == ["3 bytes follow (also in 2 other files)"]


def test_a_note_about_two_files_of_the_same_name_is_given_once():
    notes = Notes()
    for _ in range(2):
        notes.of_file("a.mrc").add(Note("map-missing", "no MAP"))
    assert list(notes) == ["no MAP (also in 1 other file)"]


def test_what_one_later_file_alone_has_names_that_file():
    notes = Notes()
    for name in ("a.mrc", "b.mrc", "c.mrc"):
        notes.of_file(name)
    notes.of_file("b.mrc").add(Note("map-missing", "no MAP"), "uncoded")
    notes.of_file("c.mrc").add(Note("map-missing", "no MAP"))
    assert list(notes) == ["b.mrc: no MAP (also in 1 other file)", "b.mrc: uncoded"]


def test_several_notes_of_one_kind_about_one_file_are_all_given():
    notes = Notes()
    notes.of_file("a.mrc").add(Note("pixel-size", "x varies"), Note("pixel-size", "y varies"))
    notes.of_file("b.mrc").add(Note("pixel-size", "x varies"))
    assert list(notes) == ["x varies (also in 1 other file)", "y varies"]


def test_notes_of_one_file_are_its_own_sentences():
    notes = Notes()
    notes.of_file("a.mrc").add(Note("map-missing", "no MAP"), "uncoded")
    assert list(notes) == ["no MAP", "uncoded"]
