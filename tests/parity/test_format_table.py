"""This project reads every kind of file right; what the others do is what the script prints."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests.parity import format_table
from tests.parity.format_table import READERS, ROWS, Row, judge, markdown

WORDS = {"right", "wrong shape", "wrong array", "refused", "error"}
# Kinds that nobody disputes: another program's reading proves the arrays of the script itself.
PLAIN = [
    name
    for name in ROWS
    if name.startswith(("mode 1,", "mode 2,", "mode 4,", "mode 6,", "mode 12,", "mode 0, int8"))
    or name in ("one section", "volume stack", "extended header FEI2, padded", "gzip", "bzip2")
]


@pytest.mark.parametrize("name", ROWS)
def test_mrcdist_reads_every_file_right(tmp_path, name):
    row = ROWS[name]
    assert judge("mrcdist", row.write(tmp_path), row) == "right"


@pytest.mark.parametrize("name", PLAIN)
def test_mrcfile_agrees_on_plain_files(tmp_path, name):
    row = ROWS[name]
    assert judge("mrcfile", row.write(tmp_path), row) == "right"


@pytest.mark.parametrize(
    "package",
    [
        # LiberTEM takes a second for each file.
        pytest.param(name, marks=[pytest.mark.slow] * (name == "libertem"))
        for name in READERS
        if name != "mrcdist"
    ],
)
def test_every_reader_that_is_installed_gets_an_answer_for_each_file(tmp_path, package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    found = {}
    for name, row in ROWS.items():
        path = row.write(tmp_path)
        found[name] = {package: judge(package, path, row)}
        path.unlink()
    assert {by[package] for by in found.values()} <= WORDS
    # A reader that is right nowhere is one that this script does not know how to call.
    assert found["mode 2, float32, little-endian"][package] == "right"
    assert found["mode 1, int16, little-endian"][package] == "right"


class TestJudge:
    ROW = ROWS["mode 1, int16, little-endian"]

    def judged(self, monkeypatch, tmp_path, read, row=ROW):
        monkeypatch.setitem(READERS, "mrcfile", ("mrcfile", lambda path, row: read(path)))
        return judge("mrcfile", row.write(tmp_path), row)

    def test_one_wrong_number_is_a_wrong_array(self, monkeypatch, tmp_path):
        wrong = self.ROW.expected.copy()
        wrong[-1, -1, -1] += 1
        assert self.judged(monkeypatch, tmp_path, lambda path: wrong) == "wrong array"

    def test_missing_numbers_are_a_wrong_array(self, monkeypatch, tmp_path):
        short = self.ROW.expected[:-1]
        assert self.judged(monkeypatch, tmp_path, lambda path: short) == "wrong array"

    def test_other_axes_are_a_wrong_shape(self, monkeypatch, tmp_path):
        flat = self.ROW.expected.reshape(-1, 5)
        assert self.judged(monkeypatch, tmp_path, lambda path: flat) == "wrong shape"

    def test_axes_of_length_1_do_not_matter(self, monkeypatch, tmp_path):
        longer = self.ROW.expected[None]
        assert self.judged(monkeypatch, tmp_path, lambda path: longer) == "right"

    def test_an_array_from_what_must_be_refused_is_wrong(self, monkeypatch, tmp_path):
        row = ROWS["4 kB of zeros"]
        read = np.zeros((2, 2))
        assert self.judged(monkeypatch, tmp_path, lambda path: read, row) == "wrong array"

    def test_an_accident_is_no_refusal(self, monkeypatch, tmp_path):
        row = ROWS["4 kB of zeros"]
        assert self.judged(monkeypatch, tmp_path, lambda path: {}[path], row) == "error"

    def test_an_error_that_the_reader_raises_is_a_refusal(self, tmp_path):
        row = Row(ROWS["4 kB of zeros"].raw, self.ROW.expected)
        assert judge("mrcfile", row.write(tmp_path), row) == "refused"
        assert judge("mrcdist", row.write(tmp_path), row) == "refused"


def test_the_table_has_a_row_a_file_and_a_column_a_reader(monkeypatch, tmp_path):
    few = {name: ROWS[name] for name in ("one section", "4 kB of zeros", "mode 16, RGB")}
    monkeypatch.setattr(format_table, "ROWS", few)
    lines = markdown(format_table.results(tmp_path)).splitlines()
    assert len(lines) == 2 + len(few) + 1
    assert "this project" in lines[0]
    assert "mrcfile" in lines[0]
    assert "| mode 16, RGB | right | refused |" in lines[4]
    assert "3 of 3" in lines[5]
    assert list(tmp_path.iterdir()) == []
