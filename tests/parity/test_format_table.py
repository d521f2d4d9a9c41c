"""mrcdist reads every file of the format table correctly; other readers only get a verdict."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests.parity import format_table
from tests.parity.format_table import READERS, ROWS, Row, judge, markdown

VERDICTS = {"right", "wrong shape", "wrong array", "refused", "error"}
# Undisputed kinds of file: mrcfile confirms that the expected arrays of the script are right.
UNDISPUTED = [
    name
    for name in ROWS
    if name.startswith(("mode 1,", "mode 2,", "mode 4,", "mode 6,", "mode 12,", "mode 0, int8"))
    or name in ("one section", "volume stack", "extended header FEI2, padded", "gzip", "bzip2")
]


@pytest.mark.parametrize("name", ROWS)
def test_mrcdist_reads_every_file_of_the_table_correctly(tmp_path, name):
    row = ROWS[name]
    assert judge("mrcdist", row.write(tmp_path), row) == "right"


@pytest.mark.parametrize("name", UNDISPUTED)
def test_mrcfile_agrees_on_undisputed_files(tmp_path, name):
    row = ROWS[name]
    assert judge("mrcfile", row.write(tmp_path), row) == "right"


@pytest.mark.parametrize(
    "package",
    [
        # LiberTEM takes a second per file.
        pytest.param(name, marks=[pytest.mark.slow] * (name == "libertem"))
        for name in READERS
        if name != "mrcdist"
    ],
)
def test_each_installed_reader_gets_a_verdict_for_every_file(tmp_path, package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    verdicts = {}
    for name, row in ROWS.items():
        path = row.write(tmp_path)
        verdicts[name] = judge(package, path, row)
        path.unlink()
    assert set(verdicts.values()) <= VERDICTS
    # If these are not right, the script calls the reader wrongly.
    assert verdicts["mode 2, float32, little-endian"] == "right"
    assert verdicts["mode 1, int16, little-endian"] == "right"


class TestJudge:
    ROW = ROWS["mode 1, int16, little-endian"]

    def verdict(self, monkeypatch, tmp_path, read, row=ROW):
        monkeypatch.setitem(READERS, "mrcfile", ("mrcfile", lambda path, row: read(path)))
        return judge("mrcfile", row.write(tmp_path), row)

    def test_array_with_one_wrong_number_is_judged_wrong_array(self, monkeypatch, tmp_path):
        wrong = self.ROW.expected.copy()
        wrong[-1, -1, -1] += 1
        assert self.verdict(monkeypatch, tmp_path, lambda path: wrong) == "wrong array"

    def test_array_with_missing_numbers_is_judged_wrong_array(self, monkeypatch, tmp_path):
        short = self.ROW.expected[:-1]
        assert self.verdict(monkeypatch, tmp_path, lambda path: short) == "wrong array"

    def test_array_with_other_axes_is_judged_wrong_shape(self, monkeypatch, tmp_path):
        flat = self.ROW.expected.reshape(-1, 5)
        assert self.verdict(monkeypatch, tmp_path, lambda path: flat) == "wrong shape"

    def test_array_with_an_additional_axis_of_length_1_is_judged_right(self, monkeypatch, tmp_path):
        longer = self.ROW.expected[None]
        assert self.verdict(monkeypatch, tmp_path, lambda path: longer) == "right"

    def test_array_from_a_file_that_must_be_refused_is_judged_wrong_array(
        self, monkeypatch, tmp_path
    ):
        row = ROWS["4 kB of zeros"]
        read = np.zeros((2, 2))
        assert self.verdict(monkeypatch, tmp_path, lambda path: read, row) == "wrong array"

    def test_accidental_exception_is_judged_error(self, monkeypatch, tmp_path):
        row = ROWS["4 kB of zeros"]
        assert self.verdict(monkeypatch, tmp_path, lambda path: {}[path], row) == "error"

    def test_exception_raised_by_the_reader_is_judged_refused(self, tmp_path):
        row = Row(ROWS["4 kB of zeros"].raw, self.ROW.expected)
        assert judge("mrcfile", row.write(tmp_path), row) == "refused"
        assert judge("mrcdist", row.write(tmp_path), row) == "refused"


def test_table_has_one_row_per_file_and_one_column_per_reader(monkeypatch, tmp_path):
    few = {name: ROWS[name] for name in ("one section", "4 kB of zeros", "mode 16, RGB")}
    monkeypatch.setattr(format_table, "ROWS", few)
    lines = markdown(format_table.results(tmp_path)).splitlines()
    assert len(lines) == 2 + len(few) + 1
    assert "this project" in lines[0]
    assert "mrcfile" in lines[0]
    assert "| mode 16, RGB | right | refused |" in lines[4]
    assert "3 of 3" in lines[5]
    assert list(tmp_path.iterdir()) == []
