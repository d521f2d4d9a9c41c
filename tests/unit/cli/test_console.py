"""Standard output and error: encodings, full disks, closed pipes, control characters."""

from __future__ import annotations

import io
import json
import os
import pty
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.cli import main
from mrcdist.cli.console import Console, UnwritableError, echo
from tests.support.mrc_files import counting, write_mrc

FULL = Path("/dev/full")
CONTROL = "\x1b]0;title\x07\x1b[31mred\x9b2J\rover\nnext"


@pytest.fixture
def file(tmp_path):
    """A file with × in its summary and control characters in a label."""
    return write_mrc(
        tmp_path / "µ.mrc",
        counting((5, 6, 7), "float32"),
        cell=(28.0, 24.0, 20.0),
        labels=(CONTROL.encode("latin-1"),),
    )


@pytest.fixture
def program():
    """Run the program with the given streams and return its exit status."""

    def run(*arguments, stdout=None, stderr=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MRCDIST_TRACEBACK")
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", stderr)
            with pytest.raises(SystemExit) as ended:
                main([os.fsdecode(argument) for argument in arguments], prog_name="mrcdist")
        return ended.value.code

    return run


@pytest.fixture
def failing(monkeypatch):
    """Function that adds a command `fail`, which raises an exception."""

    def add(error):
        @click.command()
        def fail():
            raise error

        monkeypatch.setitem(main.commands, "fail", fail)

    return add


def stream(encoding="utf-8"):
    """A text stream as created by the interpreter, with strict errors."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")


def written(text):
    """Return the text written to a stream."""
    return text.buffer.getvalue().decode(text.encoding)


def closed_pipe():
    """A pipe whose reading end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "product"),
        [
            ("utf-8", "5 × 6 × 7"),
            ("utf-16", "5 × 6 × 7"),
            ("latin-1", "5 × 6 × 7"),
            ("cp437", "5 x 6 x 7"),
            ("cp1251", "5 x 6 x 7"),
            ("shift_jis", "5 × 6 × 7"),
            ("ascii", "5 x 6 x 7"),
        ],
    )
    def test_characters_missing_from_the_encoding_are_replaced(
        self, program, file, encoding, product
    ):
        stdout, stderr = stream(encoding), stream(encoding)
        assert program("info", file, stdout=stdout, stderr=stderr) == 0
        assert product in written(stdout)
        assert written(stderr) == ""

    @pytest.mark.parametrize("encoding", ["cp437", "shift_jis", "ascii"])
    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (["explain"], 0),
            (["validate"], 0),
            (["info", "--help"], 0),
            (["info", "--navigation-shape", "²"], 2),
            (["info", "--metadata-file", "§µ…"], 1),
        ],
    )
    def test_exit_status_does_not_depend_on_the_encoding(
        self, program, file, encoding, arguments, status
    ):
        stdout, stderr = stream(encoding), stream(encoding)
        assert program(*arguments, file, stdout=stdout, stderr=stderr) == status
        assert (written(stdout) != "") == (status == 0)
        assert (written(stderr) != "") == (status != 0)

    @pytest.mark.parametrize("encoding", ["utf-8", "cp437", "ascii"])
    def test_json_is_parsed_to_the_original_values(self, program, file, encoding):
        stdout = stream(encoding)
        assert program("info", file, "--json", stdout=stdout) == 0
        found = json.loads(written(stdout))
        assert found["metadata"]["General"]["original_filename"] == "µ.mrc"
        assert found["original_metadata"]["std_header"]["LABELS"] == [CONTROL]

    @given(
        st.text(st.characters()),
        st.sampled_from(["ascii", "cp437", "latin-1", "utf-8", "shift_jis", "utf-16", "cp500"]),
    )
    def test_any_text_can_be_written_in_any_encoding(self, text, encoding):
        output = stream(encoding)
        console = Console(output, required=True)
        assert console.write(text) == len(text)
        console.flush()
        try:
            expected = text.encode(encoding).decode(encoding)  # ¥ is a backslash in Shift JIS
        except UnicodeError:
            return
        assert written(output) == expected


class TestNames:
    @pytest.mark.parametrize("name", [b"\xff.mrc", b"caf\xe9 \x1b[31m\n.mrc"])
    def test_invalid_utf_8_and_control_characters_in_names_are_escaped(
        self, program, file, tmp_path, name
    ):
        path = os.fsencode(tmp_path) + b"/" + name
        os.rename(file, path)  # noqa: PTH104 bytes
        shown = name.decode("utf-8", "backslashreplace")
        shown = shown.replace("\x1b", r"\x1b").replace("\n", r"\n")
        for command in ("info", "explain", "validate"):
            stdout = stream()
            assert program(command, path, stdout=stdout) == 0
            assert written(stdout).splitlines()[0] == f"{tmp_path}/{shown}"
        stdout = stream()
        assert program("info", path, "--json", stdout=stdout) == 0
        found = json.loads(written(stdout))["metadata"]["General"]["original_filename"]
        assert os.fsencode(found) == name
        picture = tmp_path / "look.png"
        assert program("preview", path, "-o", picture, stdout=stream()) == 0
        assert picture.stat().st_size > 1000

    def test_missing_file_with_an_invalid_utf_8_name_is_an_error(self, program, tmp_path):
        stdout, stderr = stream(), stream()
        path = os.fsencode(tmp_path) + b"/\xff.mrc"
        assert program("info", path, stdout=stdout, stderr=stderr) == 1
        assert written(stderr).startswith("error: ")
        assert r"/\xff.mrc" in written(stderr)


class TestControlCharacters:
    def test_labels_are_escaped_on_a_terminal(self, program, file):
        """Elsewhere, click strips escape sequences."""
        ours, theirs = pty.openpty()
        terminal = os.fdopen(theirs, "w")
        assert terminal.isatty()
        assert program("info", file, stdout=terminal, stderr=terminal) == 0
        terminal.close()
        seen = b""
        with os.fdopen(ours, "rb", buffering=0) as screen:
            try:
                while piece := screen.read(4096):
                    seen += piece
            except OSError:  # on Linux, the other end is closed
                pass
        [label] = [line for line in seen.split(b"\r\n") if line.startswith(b"  label")]
        assert label == rb"  label             \x1b]0;title\x07\x1b[31mred\x9b2J\rover\nnext"
        assert b"\x1b" not in seen

    def test_control_characters_in_json_are_escaped(self, program, file):
        stdout = stream()
        assert program("info", file, "--json", stdout=stdout) == 0
        assert r"\u009b2J" in written(stdout)
        assert not {*"\x1b\x07\x9b\r"} & {*written(stdout)}

    @pytest.mark.parametrize("arguments", [["info", "a", "--\x1b[31m"], ["\x1b[31m"], ["\x1b/"]])
    def test_arguments_in_errors_are_escaped(self, program, arguments):
        stderr = stream()
        assert program(*arguments, stderr=stderr) == 2
        assert "\x1b" not in written(stderr)
        assert r"\x1b" in written(stderr)


class TestExitStatus:
    @pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
    @pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["explain"], ["validate"]])
    def test_full_disk_is_one_error(self, program, file, arguments):
        stderr = stream()
        with FULL.open("w", encoding="utf-8") as full:
            assert program(*arguments, file, stdout=full, stderr=stderr) == 1
        first, second = written(stderr).splitlines()
        assert first == "error: standard output cannot be written"
        assert "No space left on device" in second

    @pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["info", "--help"]])
    def test_closed_pipe_ends_the_program_with_141(self, program, file, arguments):
        stderr = stream()
        with closed_pipe() as closed:
            assert program(*arguments, file, stdout=closed, stderr=stderr) == 141
        assert written(stderr) == ""

    def test_closed_pipe_ends_shell_completion_with_141(self, program, monkeypatch):
        monkeypatch.setenv("_MRCDIST_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", "mrcdist in")
        monkeypatch.setenv("COMP_CWORD", "1")
        stderr = stream()
        with closed_pipe() as closed:
            assert program(stdout=closed, stderr=stderr) == 141
        assert written(stderr) == ""
        assert program(stdout=None, stderr=stderr) == 1
        assert "cannot be written" in written(stderr)

    def test_closed_standard_error_does_not_change_the_exit_status(self, program, file, tmp_path):
        short = tmp_path / "short.mrc"
        short.write_bytes(file.read_bytes()[:-100])
        for arguments, status in (
            (["info", short, "--allow-truncated"], 0),
            (["info", short], 1),
            (["info"], 2),
        ):
            stdout = stream()
            with closed_pipe() as closed:
                assert program(*arguments, stdout=stdout, stderr=closed) == status
            assert ("array             4 × 6 × 7" in written(stdout)) == (status == 0)

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_program_can_run_without_standard_streams(self, program, file, flags):
        stderr = stream()
        assert program("info", file, *flags, stdout=None, stderr=stderr) == 1
        assert "cannot be written" in written(stderr)
        assert program("info", file, *flags, stdout=stream(), stderr=None) == 0
        assert program("info", "--nothing", stdout=stream(), stderr=None) == 2

    def test_stream_fails_permanently_after_the_first_failure(self):
        with closed_pipe() as closed:
            console = Console(closed, required=True)
            for text in ("x", "", "y"):
                with pytest.raises(UnwritableError) as error:
                    print(text, end="", file=console, flush=True)
                assert error.value.closed

    def test_interrupt_has_exit_status_130(self, program, failing):
        failing(KeyboardInterrupt())
        stderr = stream()
        assert program("fail", stdout=stream(), stderr=stderr) == 130
        assert written(stderr).strip() == "interrupted"


class TestUnexpectedErrors:
    def test_bugs_are_one_error_that_asks_for_a_report(self, program, failing):
        failing(ZeroDivisionError("one\x1b"))
        stderr = stream()
        assert program("fail", stdout=stream(), stderr=stderr) == 1
        assert written(stderr).startswith(r"error: ZeroDivisionError: one\x1b")
        assert "MRCDIST_TRACEBACK=1" in written(stderr)

    def test_bugs_have_a_traceback_on_request(self, failing):
        failing(ZeroDivisionError())
        assert os.environ["MRCDIST_TRACEBACK"] == "1"
        with pytest.raises(ZeroDivisionError):
            main(["fail"], prog_name="mrcdist")

    def test_errors_of_the_operating_system_keep_their_message(self, program, file, tmp_path):
        stderr = stream()
        picture = tmp_path / f"{'x' * 300}.png"
        assert program("preview", file, "-o", picture, stdout=stream(), stderr=stderr) == 1
        assert "File name too long" in written(stderr)
        assert "the operating system refused this" in written(stderr)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`allow_truncated=True`", "`--allow-truncated`"),
        ('`chunks="256 MiB"`', "`--chunks '256 MiB'`"),
        ("`chunks={0: 4}`", """`--chunks '{"0": 4}'`"""),
        ("`endianness='<'`", "`--endianness little`"),
        ("`metadata_file=None`", "`--metadata-file none`"),
        ("`navigation_shape=(x, y, ...)`", "`--navigation-shape X,Y,...`"),
        ("`navigation_shape=(4, 3)`", "`--navigation-shape 4,3`"),
        ("`scan_file=...`", "`--scan-file FILE`"),
        ("`scan_file=/a b.csv`", "`--scan-file '/a b.csv'`"),
        ('`storage_options={"anon": True}`', "`--storage-option anon=true`"),
        ("`storage_options=5`", "`--storage-option 5`"),
        ("`chunks={None: 3}`", "`--chunks '{None: 3}'`"),
        (f"`chunks={'[' * 9999}`", f"`--chunks '{'[' * 9999}'`"),
        *((text, text) for text in ("`mmap_mode='c'`", "`dask worker`", "{chunks} chunks=4")),
        *((text, text) for text in ("/a/`chunks`", "`chunks`.mrc", "a`chunks`", "`chunks`/a.mrc")),
    ],
)
def test_arguments_in_texts_are_shown_as_options(text, shown, capsys):
    with click.Context(main.commands["explain"]):
        echo(f"pass {text}, or not")
    assert capsys.readouterr().out == f"pass {shown}, or not\n"


@pytest.mark.parametrize("command", ["explain", "info", "preview", "validate"])
@pytest.mark.parametrize("exists", [True, False])
def test_name_of_a_file_is_shown_as_it_is(program, command, exists, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "`chunks=4`.mrc"
    if exists:
        write_mrc(tmp_path / name, counting((3, 4, 5), "uint16"))
    out = stream()
    output = ["-o", "a.png"] if command == "preview" else []
    program(command, name, *output, stdout=out, stderr=out)
    assert name in written(out)
    assert "--chunks" not in written(out)
