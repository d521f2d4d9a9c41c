"""Commands with any arguments end with a documented exit status and without a traceback."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click
import dask
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcdist.cli import main
from tests.support.examples import examples
from tests.support.mrc_files import counting, write_mrc

NUMBERS = (
    *("", "0", "1", "-1", "--5", "+3", "²", "٣", "1_000", "0x10", "1.5", "1e3", "1e400", "nan"),
    *("inf", "-inf", "9" * 30, "9" * 5000, "-" + "9" * 30),
)
SIZES = ("1e400 GB", "-1 GB", "0 B", "0.5 B", "NaN GB", "1 KiB", "²MB", "GB", "16 EB", "1 yb")
LISTS = (",", ",,", "1,", "1,1,1", "-1,-1,-1", "0,0,0", "1,²", "a,b", "auto", "auto,1,1", "1,-1,-1")
WORDS = ("none", "null", "\udcff", "\x1b[31m", "a\nb", "%s", "{x}", "int8", "big", "scan", "bf")
DETECTORS = (
    *("all", "adf", "circle:1,1,1", "circle:1e308,1,1", "circle:1,1,1e200", "circle:1,1,1e400"),
    *("annulus:nan,1,0,1", "annulus:1,1,0,1e300", "circle:", "circle:²,1,1"),
    *("mask.npy", "archive.npy", "object.npy", "header.npy", "zip.npy", "record.npy"),
)
FILES = (
    *("a.mrc", "\udcff.mrc", "folder", "empty", "text.txt", "nothing", "deep.json", "list.json"),
    *("~nobody-of-that-name/x", "~", "x" * 300, "x/" * 2000, "/dev/null", "/", "..", "*.mrc"),
    *("[", "[!", "a[b", "?", "**", "date.yaml", "deep.yaml", "jobs.yaml"),
)
URLS = (
    *("s3://", "http://", "https://[", "http://[::1", "http://127.0.0.1:99999/a", "::", "a://b"),
    *("http://127.0.0.1:x/a", "http://\udcff/x", "http://127.0.0.1:1/a", "https:/u:pw@h/a"),
    *("memory://", "memory://x", "zip://", "zip://a::", "zip://x::a.mrc", "simplecache::"),
    *("simplecache::a.mrc", "blockcache::a.mrc", "dir://a", "data:,x", "file://", "file://a.mrc"),
)
STORE = (
    *("a=1", "a=", "=1", "a.b=1", "a..b=1", ".=1", "a=" + "[" * 100_000, "a=" + "9" * 5000),
    *("a=1e999", "protocol=x", "url=x", "asynchronous=1", "config_kwargs=5", "key=5", "fo=1"),
)
OUTPUTS = (
    "out.npy",
    "out.mrc",
    "out.zarr",
    "out.png",
    "out.tif",
    ".npy",
    "folder/x.npy",
    "no/x.npy",
)
ANY = st.one_of(
    st.sampled_from(
        NUMBERS + SIZES + LISTS + WORDS + DETECTORS + FILES + URLS + STORE + OUTPUTS,
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)
COMPUTING = ("reduce", "virtual", "mean", "com", "check-workers", "convert")
# Options that select the cluster, set by the test itself.
CLUSTER = ("scheduler", "scheduler_file", "jobqueue", "workers", "threads", "memory_limit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a valid file and invalid ones."""
    folder = tmp_path_factory.mktemp("any")
    for name in (b"a.mrc", b"\xff.mrc"):
        write_mrc(
            Path(os.fsdecode(os.fsencode(folder) + b"/" + name)), counting((4, 6, 7), "int16")
        )
    (folder / "folder").mkdir()
    for name, text in {
        "empty": "",
        "text.txt": "hello\x1b[31m = 3\n",
        "deep.json": "[" * 100_000,
        "list.json": '["a"]',
        "date.yaml": "jobqueue: 2001-99-99",
        "deep.yaml": "[" * 5000,
        "jobs.yaml": "jobqueue:\n  slurm:\n    cores: x\n",
        "header.npy": "\x93NUMPY\1\0\x10\0{'descr': (((((\n",
        "zip.npy": "PK\3\4" + "x" * 100,
    }.items():
        (folder / name).write_text(text, "latin-1")
    np.save(folder / "mask.npy", np.ones((6, 7)))
    np.save(folder / "object.npy", np.array([None], object))
    np.save(folder / "record.npy", np.zeros((6, 7), [("a", "i4")]))
    np.savez(folder / "archive.npz", a=np.ones(3))
    (folder / "archive.npz").rename(folder / "archive.npy")
    return folder


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler with one worker, in this process."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        yield cluster.scheduler_address


@st.composite
def command_lines(draw, names, cluster=()):
    """Draw a command with any options and values."""
    name = draw(st.sampled_from(names))
    words = [name]
    for option in main.commands[name].params:
        if not isinstance(option, click.Option) or option.name in ("help", *cluster):
            continue
        if not option.required and draw(st.integers(0, 9)):
            continue
        value = draw(ANY)
        if option.is_flag:
            words.append(option.opts[0])
        elif draw(st.booleans()):
            words.append(f"{option.opts[0]}={value}")
        else:
            words += [option.opts[0], value]
    url = draw(st.sampled_from(["a.mrc", "a.mrc", "a.mrc", None]))
    words.append(draw(ANY) if url is None else url)
    return [*words, draw(ANY)] if name == "convert" else words


# Do not wait for missing servers and schedulers.
NO_WAITING = {"mrcdist.retries": 0, "mrcdist.scheduler-timeout": 2}


def check(words, folder):
    """Run a command and check that it ends with a documented exit status."""
    with pytest.MonkeyPatch.context() as patch, dask.config.set(NO_WAITING):
        patch.chdir(folder)
        patch.delenv("MRCDIST_TRACEBACK")
        done = CliRunner().invoke(main, words)
    assert isinstance(done.exception, SystemExit | None), (words, done.exception)
    assert done.exit_code in (0, 1, 2), words
    assert "a bug in mrcdist" not in done.stderr, words
    assert "Traceback" not in done.output, words
    assert "\x1b" not in done.output, words
    assert bool(done.stderr) or done.exit_code == 0 or words[0] in ("validate", "check-workers")
    return done


class TestAnyArguments:
    @settings(examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(words=command_lines(["info", "explain", "validate", "preview"]))
    def test_inspecting_commands_with_any_options_end_with_a_documented_status(self, folder, words):
        check(words, folder)

    @examples(40)
    @given(words=command_lines(COMPUTING, cluster=CLUSTER))
    def test_computing_commands_with_any_options_end_with_a_documented_status(
        self, folder, scheduler, words
    ):
        check([*words, "--scheduler", scheduler], folder)

    @pytest.mark.parametrize("command", ["info", "explain", "validate"])
    @pytest.mark.parametrize("url", URLS + FILES, ids=ascii)
    def test_inspecting_any_filename_ends_with_a_documented_status(self, folder, command, url):
        assert check([command, url], folder).exit_code != 2

    @pytest.mark.parametrize("url", URLS + FILES, ids=ascii)
    def test_preview_of_any_filename_ends_with_a_documented_status(self, folder, url):
        """Images are drawn for two names only, because drawing is slow."""
        readable = check(["info", url], folder).exit_code == 0
        drawn = readable and url in ("a.mrc", "\udcff.mrc")
        done = check(["preview", "-o", "x.png", *([] if drawn else ["--view=scan"]), url], folder)
        assert done.exit_code == (0 if drawn else 1)
        assert ("--view" in done.stderr) == (readable and not drawn)


class TestValues:
    @pytest.mark.parametrize(
        "chunks", ["--5", "²", "٣", "1e400 GB", "1e400", "nan", "", " ", "9" * 5000]
    )
    def test_error_about_invalid_chunks_has_the_syntax(self, folder, chunks):
        done = check(["explain", "a.mrc", f"--chunks={chunks}"], folder)
        assert done.exit_code == 1
        assert f"error: `--chunks {shlex.quote(chunks)}`" in done.stderr
        assert "`--chunks '256 MiB'`" in done.stderr

    @pytest.mark.parametrize("chunks", ["1e1 KB", " 1 , -1, -1 ", "+1,-1,-1", " auto "])
    def test_chunks_may_have_spaces_and_signs(self, folder, chunks):
        assert check(["explain", "a.mrc", "--chunks", chunks], folder).exit_code == 0

    @pytest.mark.parametrize("shape", ["²", "1,²", "", ",", "9" * 5000, "1e3", "--4"])
    def test_error_about_an_invalid_shape_has_the_syntax(self, folder, shape):
        done = check(["info", "a.mrc", f"--navigation-shape={shape}"], folder)
        assert done.exit_code == 2
        assert "expected comma-separated integers" in done.stderr

    @pytest.mark.parametrize(
        ("command", "option", "values"),
        [
            ("explain", "--threads", ("0", "-1", "²", "9" * 5000)),
            ("mean", "--workers", ("0", "-1", "9" * 30, "1.5")),
            ("mean", "--threads", ("0", "-1")),
            ("check-workers", "--timeout", ("0", "-1", "nan", "inf", "1e400")),
            ("preview", "--budget", ("0", "-1 GB", "1e400 GB", "0.5 B", "²", "", "nan")),
        ],
    )
    def test_numbers_out_of_range_are_invalid_options(self, folder, command, option, values):
        needs = {"mean": ["--out", "b.npy"], "preview": ["-o", "b.png"]}.get(command, [])
        for value in values:
            done = check([command, "a.mrc", *needs, f"{option}={value}"], folder)
            assert done.exit_code == 2
            assert option in done.stderr

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--memory-limit=1e400 GB"], "--memory-limit '1e400 GB'"),
            (["--memory-limit=-1 GB"], "--memory-limit '-1 GB'"),
            (["--scheduler="], "no dask scheduler answers at "),
            (["--scheduler=tcp://:99999"], "no dask scheduler answers at tcp://:99999"),
            (["--scheduler=foo://b"], "no dask scheduler answers at foo://b"),
            (["--jobqueue=date.yaml"], "error: `--jobqueue`: not valid YAML"),
            (["--jobqueue=deep.yaml"], "error: `--jobqueue`: not valid YAML"),
            (
                ["--scheduler=tcp://a:1", "--workers=2"],
                "error: `--scheduler` is not the only option",
            ),
            (
                ["--jobqueue=a.yaml", "--workers=2"],
                "remedy: leave out `--workers`, or `--jobqueue`",
            ),
        ],
    )
    def test_invalid_cluster_options_are_errors(self, folder, options, message):
        done = check(["mean", "a.mrc", "--out", "c.npy", *options], folder)
        assert done.exit_code == 1
        assert message in done.stderr

    @pytest.mark.parametrize("mask", ["archive", "object", "header", "zip", "record", "nothing"])
    def test_invalid_masks_are_errors(self, folder, mask):
        words = ["virtual", "a.mrc", "--detector", f"{mask}.npy", "--out", "d.npy"]
        done = check(words, folder)
        assert done.exit_code == 1
        assert "detector" in done.stderr or "the mask cannot be" in done.stderr

    @pytest.mark.parametrize(
        "words",
        [["virtual", "--detector="], ["com", "--detector="], ["reduce", "--virtual", "a="]],
        ids=" ".join,
    )
    def test_empty_detectors_are_errors(self, folder, words):
        """For example, from a shell variable that is not set."""
        done = check([words[0], "a.mrc", *words[1:], "--out", "d.npy"], folder)
        assert done.exit_code == 1
        assert "unknown detector" in done.stderr

    @pytest.mark.parametrize("out", ["", ".", "..", "out.mrc"])
    def test_invalid_outputs_are_errors(self, folder, out):
        """The centre of mass of a stack consists of two rows of numbers."""
        done = check(["com", "a.mrc", f"--out={out}"], folder)
        assert done.exit_code == 1
        assert "error: `--out " in done.stderr

    @pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000, "{", "é"])
    def test_storage_options_other_than_json_are_text(self, folder, value):
        option = ["--storage-option", f"auto_mkdir={value}"]
        assert check(["info", "a.mrc", *option], folder).exit_code == 0

    @pytest.mark.parametrize("pair", ["=1", ".=1", "a..b=1", "a.=1", "a"])
    def test_storage_options_without_a_key_are_invalid(self, folder, pair):
        assert check(["info", "a.mrc", "--storage-option", pair], folder).exit_code == 2


def test_json_of_a_file_with_an_invalid_utf_8_name_can_be_parsed(folder):
    found = json.loads(check(["info", "\udcff.mrc", "--json"], folder).stdout)
    assert found["shape"] == [4, 6, 7]


def test_error_about_an_option_of_convert_names_the_option(folder, tmp_path):
    done = check(["convert", "a.mrc", str(tmp_path / "a.zarr"), "--byte-order", "big"], folder)
    assert done.exit_code == 1
    assert "error: `--byte-order big`" in done.stderr


def test_convert_does_not_replace_a_pipe_or_device(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe.mrc")
    done = check(["convert", "a.mrc", str(tmp_path / "pipe.mrc"), "--overwrite"], folder)
    assert done.exit_code == 1
    assert "pipe.mrc is not a regular file" in done.stderr
    assert (tmp_path / "pipe.mrc").is_fifo()
