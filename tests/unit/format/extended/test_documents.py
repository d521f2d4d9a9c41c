"""JSON in an extended header, as the mrcz package writes it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mrcdist.format.extended.documents import MrczJson
from mrcdist.format.header import parse_header
from tests.support.mrc_files import header_bytes


def decoded(raw):
    header = parse_header(header_bytes(nx=4, ny=4, nz=1, mode=0), file_size=None)
    return MrczJson(dataclasses.replace(header, nsymbt=len(raw))).decode(raw)


def nested(levels):
    """Return JSON with this many levels, of objects and arrays in turn."""
    value = 0
    for level in range(levels - 1):
        value = {"a": 1, "b": value, "c": 2} if level % 2 else [1, value, 2]
    return json.dumps({"first": 0, "deep": value, "last": {}}).encode()


@pytest.mark.parametrize("levels", [1, 2, 49])
def test_document_with_few_levels_is_decoded(levels):
    raw = nested(levels)
    assert decoded(raw + b"\n\0\0").document == json.loads(raw)


@pytest.mark.parametrize("levels", [51, 100_000])
def test_document_with_too_many_levels_in_any_branch_is_not_decoded(levels):
    inner = b"[" * (levels - 1) + b"]" * (levels - 1)
    for raw in (b'{"a": %s, "b": 0}' % inner, b'{"a": 0, "b": %s, "c": []}' % inner):
        found = decoded(raw)
        assert found.document is None
        assert "no JSON object" in found.notes[0]


@pytest.mark.parametrize("raw", [b"[]", b"1", b"{", b"\xff{}", b""])
def test_bytes_that_are_not_a_json_object_are_not_decoded(raw):
    assert decoded(raw).document is None


def test_numbers_that_json_does_not_have_are_none():
    raw = b'{"a": NaN, "b": [Infinity, -Infinity, 1e999], "c": 1.5}'
    assert decoded(raw).document == {"a": None, "b": [None, None, None], "c": 1.5}


def test_metadata_are_those_of_hyperspy_without_entries_about_the_other_file():
    document = {
        "General": {"title": "sample", "original_filename": "a.mrcz", "FileIO": {}, "notes": 3},
        "Signal": {"signal_type": "EELS"},
        "Other": {"a": 1},
        "Sample": "not a branch",
    }
    metadata = MrczJson(None).metadata(document)
    assert "original_filename" not in metadata["General"]
    assert "FileIO" not in metadata["General"]
    assert metadata["General"]["title"] == "sample"
    assert metadata["Signal"] == {"signal_type": "EELS"}
    assert metadata.keys() <= {"General", "Signal", "Acquisition_instrument"}
