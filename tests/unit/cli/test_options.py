"""Options of the command line; those for reading are fields of `ReadOptions`."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
from click.testing import CliRunner

from mrcdist.cli import main
from mrcdist.options import ReadOptions
from tests.support.mrc_files import counting, write_mrc

ARGUMENTS = {argument.name: argument for argument in fields(ReadOptions)}
IMAGES = {"virtual_images", "external_images"}
READING = set(ARGUMENTS) - IMAGES
INTERPRETATION = READING - {"chunks"}


def options_of(command):
    return {option.name: option for option in main.commands[command].params}


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


class TestReadOptions:
    @pytest.mark.parametrize(
        ("command", "names"),
        [
            ("info", INTERPRETATION | IMAGES),
            ("preview", INTERPRETATION | IMAGES),
            ("check-workers", INTERPRETATION),
            ("explain", READING),
            ("virtual", READING),
            ("mean", READING),
            ("com", READING),
            ("reduce", READING),
            ("convert", READING),
            ("validate", {"metadata_file", "endianness", "mode0"}),
        ],
    )
    def test_each_command_has_its_options(self, command, names):
        options = options_of(command)
        # `chunks` of check-workers is the amount of data that each worker reads.
        assert {name for name in ARGUMENTS if name in options} - {"chunks"} == names - {"chunks"}
        for name in names:
            assert options[name].help == ARGUMENTS[name].metadata["help"]
            assert options[name].opts == [f"--{name.replace('_', '-')}"]

    @pytest.mark.parametrize(
        ("command", "needs"),
        [("info", []), ("explain", []), ("validate", []), ("mean", ["--out", "a.npy"])],
    )
    def test_defaults_equal_those_of_the_functions(self, command, needs):
        params = main.commands[command].make_context(command, ["a.mrc", *needs]).params
        defaults = {name: params[name] for name in ARGUMENTS if name in params}
        assert defaults == {name: ARGUMENTS[name].default for name in defaults}
        assert defaults["mode0"] is None

    @pytest.mark.parametrize("option", ["--metadata-file", "--scan-file", "--tilt-file"])
    def test_option_none_on_the_command_line_means_no_file(self, tmp_path, monkeypatch, option):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "none").write_bytes(b"not read")
        path = write_mrc(tmp_path / "a.mrc", counting((2, 3, 4), "int16"))
        assert run("info", path, option, "none").exit_code == 0
        assert run("info", path, option, "./none").stderr != ""

    @pytest.mark.parametrize(("word", "order"), [("little", "<"), ("big", ">")])
    def test_byte_orders_are_given_as_words(self, tmp_path, word, order):
        path = write_mrc(tmp_path / "a.mrc", counting((2, 3, 4), "int16"), byteorder=order)
        found = run("info", path, "--endianness", word, "--json")
        assert (found.exit_code, json.loads(found.stdout)["notes"]) == (0, [])
        other = {"little": "big", "big": "little"}[word]
        assert "endianness" in run("info", path, "--endianness", other).stderr

    @pytest.mark.parametrize("command", ["info", "validate"])
    def test_unknown_modes_are_refused(self, tmp_path, command):
        path = write_mrc(tmp_path / "a.mrc", counting((2, 3, 4), "int16"))
        refused = run(command, path, "--mode0", "int32")
        assert refused.exit_code == 2
        assert "'int8', 'uint8'" in refused.stderr


def test_statistics_are_compared_with_the_requested_sign(tmp_path):
    pixels = np.arange(256, dtype="uint8").reshape(1, 16, 16)
    statistics = (0.0, 255.0, float(pixels.mean()), float(pixels.std()))
    path = write_mrc(tmp_path / "a.mrc", pixels, mode=0, statistics=statistics)
    assert run("validate", path, "--statistics", "--mode0", "uint8").exit_code == 0
    signed = run("validate", path, "--statistics", "--mode0", "int8")
    assert signed.exit_code == 1
    assert "the data have -128" in signed.stdout


def test_secret_passed_as_a_storage_option_without_key_is_not_printed(tmp_path):
    for text in ("hunter22", "token-hunter22"):
        ended = CliRunner().invoke(main, ["info", str(tmp_path / "a"), "--storage-option", text])
        assert ended.exit_code in (1, 2)
        assert "hunter22" not in ended.output.lower()


@pytest.mark.parametrize("command", list(main.commands))
def test_help_of_every_command_has_an_example(command):
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert f"\n    mrcdist {command} " in shown.output
