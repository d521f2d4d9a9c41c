"""Reports of a validation: the bytes that are read, and the output of the command."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem

from mrcdist.cli import main
from mrcdist.errors import MissingFileError
from mrcdist.validate.report import validate
from tests.support.faulty_files import CASES, written


@pytest.fixture
def requests(monkeypatch):
    """Record the byte ranges that are read from the memory filesystem."""
    ranges = []
    read = MemoryFileSystem.cat_file

    def recorded(self, path, start=None, end=None, **options):
        ranges.append((start, end))
        return read(self, path, start=start, end=end, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", recorded)
    return ranges


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("valid", [(0, 1024)]),
        ("extended header of text", [(0, 1024)]),
        ("extended header of FEI", [(0, 1024), (1024, 1028)]),
        ("truncated", [(0, 1024)]),
    ],
)
def test_pixels_are_read_only_on_request(requests, name, expected):
    MemoryFileSystem().pipe_file("/validate/a.mrc", CASES[name][0])
    validate("memory://validate/a.mrc")
    assert requests == expected


def test_statistics_are_compared_only_on_request():
    MemoryFileSystem().pipe_file("/validate/a.mrc", CASES["minimum is wrong"][0])
    assert validate("memory://validate/a.mrc").valid
    assert not validate("memory://validate/a.mrc", statistics=True).valid


def test_statistics_of_a_damaged_file_are_not_compared(tmp_path):
    path = written(tmp_path, "truncated")
    assert "not compared" in str(validate(path, statistics=True))


class TestCommand:
    @pytest.fixture
    def path(self, tmp_path):
        return written(tmp_path, "valid")

    def test_exit_status_is_0_for_a_valid_file(self, path):
        result = CliRunner().invoke(main, ["validate", str(path), "--statistics"])
        assert result.exit_code == 0
        assert result.output.rstrip().endswith("\nvalid")

    def test_exit_status_is_1_for_an_invalid_file(self, path):
        path.write_bytes(CASES["truncated"][0])
        result = CliRunner().invoke(main, ["validate", str(path)])
        assert result.exit_code == 1
        assert "10 bytes of data are missing" in result.output
        assert "`allow_truncated=True`" in result.output
        assert result.output.rstrip().endswith("not valid: 1 error")

    def test_exit_status_is_1_for_a_missing_file(self, path):
        result = CliRunner().invoke(main, ["validate", str(path.with_name("b.mrc"))])
        assert result.exit_code == 1
        assert "error:" in result.output
        with pytest.raises(MissingFileError):
            validate(path.with_name("b.mrc"))

    def test_json_contains_all_findings(self, path):
        path.write_bytes(CASES["version 0"][0])
        result = CliRunner().invoke(main, ["validate", "--json", str(path)])
        assert result.exit_code == 1
        report = json.loads(result.output)
        assert report["valid"] is False
        [error] = [finding for finding in report["findings"] if finding["severity"] == "error"]
        assert error["check"] == "version"
        assert error["found"] == "NVERSION = 0"
        assert error["matters"]
        assert error["remedy"]

    def test_secrets_in_the_url_are_not_shown(self):
        result = CliRunner().invoke(
            main, ["validate", "memory://a.mrc?token=hidden", "--storage-option", "key=hidden"]
        )
        assert result.exit_code == 1
        assert "hidden" not in result.output
