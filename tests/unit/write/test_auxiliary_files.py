"""Sidecars of new files: when they are written, and notes about what they cannot store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mrcdist.warning_notes import Notes
from mrcdist.write.auxiliary_files import auxiliary_names, choose_auxiliary
from mrcdist.write.contents import contents_of

SCAN = np.zeros((3, 4, 8, 9), "uint16")


def axes(points: str = "nm", pixels: str = "nm^-1") -> list[dict[str, Any]]:
    described = [{"name": name, "scale": 2.0, "units": points} for name in "yx"]
    return [*described, *({"name": name, "scale": 0.5, "units": pixels} for name in ("ky", "kx"))]


@pytest.mark.parametrize(
    ("described", "lost"),
    [
        (axes(), []),
        (axes("um", "1/Å"), []),
        (axes("Å", "$nm^{-1}$"), []),
        (axes("nm", "µm⁻¹"), []),
        (axes("s"), ["unit-not-stored"] * 2),
        (axes(pixels="mrad"), ["unit-not-stored"] * 2),
        (axes(pixels="nm"), ["unit-not-stored"] * 2),
        (axes(pixels=""), []),
    ],
)
def test_units_that_a_sidecar_cannot_store_are_noted(
    described: list[dict[str, Any]], lost: list[str]
) -> None:
    notes = Notes()
    [name] = choose_auxiliary("a_movie.mrc", contents_of(SCAN, described), "images", "auto", notes)
    assert name == "a_info.txt"
    assert [note.code for note in notes] == lost


def test_offsets_of_a_cropped_scan_are_noted() -> None:
    notes = Notes()
    y, x, ky, kx = axes()
    x["offset"], ky["offset"] = 6.0, -2.0
    choose_auxiliary("a_movie.mrc", contents_of(SCAN, [y, x, ky, kx]), "images", "auto", notes)
    assert [note.code for note in notes] == ["offset-not-stored"]
    assert "6 nm of axis x, -2 nm^-1 of axis ky" in next(iter(notes))


@pytest.mark.parametrize("name", ["a_movie.mrcs", "a_movie.mrcz", "a_movie.map", "_movie.mrc"])
def test_sidecar_that_readers_do_not_find_is_written_only_on_request(name: str) -> None:
    notes = Notes()
    contents = contents_of(SCAN, axes())
    assert choose_auxiliary(name, contents, "images", "auto", notes) == {}
    assert [note.code for note in notes] == ["scan-not-stored"]
    assert len(choose_auxiliary(name, contents, "images", True, notes)) == 1


def test_only_a_movie_has_the_name_of_a_sidecar_among_its_auxiliary_names() -> None:
    assert auxiliary_names("20260101_00001_movie.mrc") == (
        "20260101_00001_movie.rawtlt",
        "20260101_00001_info.txt",
    )
    assert auxiliary_names("a.mrc") == ("a.rawtlt",)


def test_auxiliary_names_include_tilt_files_that_readers_prefer_to_a_written_one() -> None:
    assert auxiliary_names("a.mrc", {"a.rawtlt"}) == ("a.mrc.mdoc", "a.mdoc", "a.rawtlt")
    assert auxiliary_names("a_ali.mrc", {"a_ali.rawtlt"})[-1] == "a_ali.rawtlt"
    assert auxiliary_names("a_rec.mrc", {"a_rec.rawtlt"}) == ("a_rec.rawtlt",)
