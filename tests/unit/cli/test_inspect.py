"""`mrcdist info` and `mrcdist explain`: text, JSON, and errors without a traceback."""

from __future__ import annotations

import json
import shlex

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import mrcdist
from mrcdist.cli import main
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, mrc_bytes, write_mrc
from tests.support.processes import ROOT


def run(*arguments):
    """Run a command in this process; exceptions that it does not handle are raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_json(*arguments):
    """Run a command with `--json` and parse its output strictly."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(result.stdout, parse_constant=refuse)


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return write_acquisition(folder, scan_shape=(4, 6), frame_shape=(8, 8))


@pytest.fixture
def plain(tmp_path):
    """A tomogram of 4 Å voxels, big-endian, with a label."""
    return write_mrc(
        tmp_path / "plain.mrc",
        counting((5, 6, 7), "float32"),
        byteorder=">",
        cell=(28.0, 24.0, 20.0),
        labels=(b"made for a test",),
        ispg=1,
    )


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["BF", "DF", "Survey"]),
        (["--virtual-images", "auto"], ["BF", "DF", "Survey"]),
        (["--virtual-images", "none"], ["Survey"]),
        (["--virtual-images", "none", "--external-images", "none"], []),
        (["--virtual-images", "b.mrc", "--virtual-images", "a.mrc"], ["b", "a", "Survey"]),
    ],
)
def test_info_lists_the_requested_companion_images(tmp_path, options, names):
    image = np.ones((4, 6), "float32")
    movie = write_acquisition(
        tmp_path,
        scan_shape=(4, 6),
        frame_shape=(8, 8),
        virtual_images={"BF": image, "DF": image},
        external_images={"Survey": image},
    ).movie
    assert list(run_json("info", movie, *options)["images"]) == names


class TestInfo:
    def test_info_lists_version_array_header_axes_and_labels(self, plain):
        result = run("info", plain)
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[0] == str(plain)
        assert f"{plain.stat().st_size} bytes" in lines[1]
        assert lines[2].split(maxsplit=1) == ["array", "5 × 6 × 7 float32, 840 B"]
        assert "mode 2, big-endian, data from byte 1024" in lines[3]
        assert "0.4 nm per step" in lines[4]
        assert ["label", "made", "for", "a", "test"] in [line.split() for line in lines]
        assert result.stderr == ""

    def test_labels_of_a_file_are_shown_as_they_are(self, tmp_path):
        label = "cut with `navigation_shape=(3, 4)`"
        path = write_mrc(tmp_path / "a.mrc", counting((5, 6, 7), "int16"), labels=(label.encode(),))
        assert run("info", path).stdout.splitlines()[-1].split(maxsplit=1) == ["label", label]

    def test_info_of_a_scan_lists_its_axes_and_metadata(self, acquisition):
        result = run("info", acquisition.movies[0])
        [ds] = mrcdist.read_mrc(acquisition.movies[0])
        printed = [line.split()[:3] for line in result.stdout.splitlines()]
        for axis in ds["axes"]:
            kind = "navigation," if axis["navigate"] else "signal,"
            assert [axis["name"], f"{axis['size']},", kind] in printed
        assert ["beam", "energy", "200"] in printed

    def test_info_as_json_equals_the_result_of_read_mrc(self, acquisition):
        found = run_json("info", acquisition.movies[0])
        [ds] = mrcdist.read_mrc(acquisition.movies[0])
        assert found["shape"] == [4, 6, 8, 8] == list(ds["data"].shape)
        assert found["dtype"] == "uint16"
        assert found["axes"] == json.loads(json.dumps(ds["axes"]))
        ds["metadata"].pop("_HyperSpy", None)
        assert found["metadata"] == json.loads(json.dumps(ds["metadata"]))
        assert found["original_metadata"] == json.loads(json.dumps(ds["original_metadata"]))
        assert found["url"] == str(acquisition.movies[0])
        assert found["notes"] == []

    def test_info_follows_options_for_sidecar_and_shape(self, acquisition):
        movie = acquisition.movies[0]
        assert run_json("info", movie, "--metadata-file", "none")["shape"] == [24, 8, 8]
        assert run_json("info", movie, "--navigation-shape", "3,-1")["shape"] == [8, 3, 8, 8]
        named = run_json("info", movie, "--metadata-file", acquisition.sidecar)
        assert named["shape"] == [4, 6, 8, 8]

    @pytest.mark.parametrize(
        ("angles", "steps"),
        [
            ((0, 3, -3, 6, -6), "not monotonic, −6 to 6 deg"),
            ((6, 2, 0, -1, -6), "uneven steps, −6 to 6 deg"),
        ],
    )
    def test_tilts_are_summarised_from_the_lowest_to_the_highest(self, tmp_path, angles, steps):
        path = write_mrc(tmp_path / "ts.mrc", counting((5, 3, 4), "int16"))
        (tmp_path / "ts.rawtlt").write_text("\n".join(map(str, angles)))
        lines = run("info", path).stdout.splitlines()
        [line] = [line for line in lines if line.startswith("  tilt  ")]
        assert line.endswith(steps)
        up_and_down = angles[1] > angles[0]
        metadata = "  tilt alpha        5 values from −6 to 6 deg"
        assert (metadata in lines) is up_and_down
        series = run_json("info", path)["original_metadata"]["tilt_series"]
        assert series["tilt_angle"] == list(angles)
        by_tilt = run_json("info", path, "--sort-by-tilt")["original_metadata"]["tilt_series"]
        assert by_tilt["tilt_angle"] == sorted(angles)
        assert run_json("info", path, "--tilt-file", "none")["axes"][0]["name"] == "z"

    def test_info_of_a_tilt_series_has_an_uneven_axis(self, tmp_path):
        angles = np.array([-6000, -1000, 0, 2000, 6000], "<i2")  # hundredths of a degree
        raw = mrc_bytes(
            counting((5, 6, 7), "int16"), extended=angles.tobytes(), exttyp=b"SERI", nint=2, nreal=1
        )
        path = tmp_path / "tilts.mrc"
        path.write_bytes(raw)
        tilts = run_json("info", path)["axes"][0]
        assert tilts["axis"] == [-60.0, -10.0, 0.0, 20.0, 60.0]
        [line] = [x for x in run("info", path).stdout.splitlines() if x.startswith("  tilt  ")]
        assert line.endswith("uneven steps, −60 to 60 deg")

    def test_nan_and_infinity_are_null_in_json(self, tmp_path):
        path = write_mrc(
            tmp_path / "nan.mrc",
            counting((5, 6, 7), "int16"),
            statistics=(float("nan"), float("inf"), float("nan"), float("nan")),
            origin=(float("nan"), 0.0, 0.0),
        )
        assert run_json("info", path)["original_metadata"]["std_header"]["AMIN"] is None

    def test_warnings_go_to_stderr_and_to_json(self, tmp_path):
        path = tmp_path / "short.mrc"
        path.write_bytes(mrc_bytes(counting((5, 6, 7), "int16"))[:-10])
        result = run("info", path, "--allow-truncated")
        assert result.exit_code == 0
        assert "warning:" in result.stderr
        assert "warning:" not in result.stdout
        [note] = run_json("info", path, "--allow-truncated")["notes"]
        assert note in result.stderr


class TestExplain:
    def test_explain_prints_the_estimate_of_the_plan(self, plain):
        expected = str(mrcdist.plan_mrc(plain, chunks=(2, -1, -1)).explain(threads=3))
        result = run("explain", plain, "--chunks", "2,-1,-1", "--threads", "3")
        assert result.exit_code == 0
        assert result.stdout == expected + "\n"

    @pytest.mark.parametrize(
        ("text", "chunks"),
        [
            ("auto", "auto"),
            ("64 B", "64 B"),
            ("2", 2),
            ("-1", -1),
            ("2,3,-1", (2, 3, -1)),
            ("1,auto,7", (1, "auto", 7)),
        ],
    )
    def test_explain_accepts_the_chunks_of_read_mrc(self, plain, text, chunks):
        cost = run_json("explain", plain, "--chunks", text)
        expected = mrcdist.plan_mrc(plain, chunks=chunks).explain().as_dict()
        assert cost == {**expected, "notes": []}

    def test_too_many_chunks_cause_one_warning(self, tmp_path):
        path = write_mrc(tmp_path / "many.mrc", counting((50_001, 1, 1), "int8"))
        for flag in ([], ["--json"]):
            result = run("explain", path, "--chunks", "1,-1,-1", *flag)
            assert result.exit_code == 0
            assert (result.stdout + result.stderr).count("50,001 chunks are more than") == 1


class TestErrors:
    @pytest.mark.parametrize("command", ["info", "explain"])
    @pytest.mark.parametrize(
        ("raw", "problem"),
        [
            (None, "was not found by this process"),
            (b"hello", "not an MRC file"),
            (mrc_bytes(counting((5, 6, 7), "int16"))[:-10], "4 of 5 frames are complete"),
        ],
    )
    def test_errors_exit_1_with_cause_and_remedy_and_no_traceback(
        self, tmp_path, command, raw, problem
    ):
        path = tmp_path / "bad.mrc"
        if raw is not None:
            path.write_bytes(raw)
        for flag in ([], ["--json"]):
            result = run(command, path, *flag)
            assert result.exit_code == 1
            assert result.stdout == ""
            assert result.stderr.startswith("error: ")
            for word in (problem, "cause: ", "remedy: ", "where: "):
                assert word in result.stderr
            assert "Traceback" not in result.stderr

    @pytest.mark.parametrize(
        "options",
        [
            ["--chunks", "tiny"],
            ["--chunks", "0,1,1"],
            ["--navigation-shape", "4,4"],
            ["--storage-option", "nonsense"],
            ["--navigation-shape", "x,y"],
            ["--no-such-option"],
        ],
        ids=" ".join,
    )
    def test_errors_about_options_contain_the_value(self, plain, options):
        result = run("explain", plain, *options)
        assert result.exit_code in (1, 2)
        assert result.stdout == ""
        assert any(part in result.stderr for part in (options[-1], "KEY=VALUE"))

    @pytest.mark.parametrize(
        ("raw", "option"),
        [
            (mrc_bytes(counting((2, 3, 4), "int16"))[:-5], "`--allow-truncated` loads"),
            (mrc_bytes(counting((5, 8, 8), "uint16")), "`--navigation-shape X,Y,...`"),
        ],
        ids=["cut short", "another scan"],
    )
    def test_remedies_contain_options_instead_of_arguments(self, tmp_path, raw, option):
        written = write_acquisition(tmp_path, scan_shape=(2, 3), frame_shape=(8, 8))
        written.movie.write_bytes(raw)
        message = run("info", written.movie).stderr
        assert option in message
        assert "=True" not in message

    @pytest.mark.parametrize("chunks", ["32x32", "0,1,1", "1,2", '{"0": 0}', "[[1, 2], 3]"])
    def test_remedy_for_chunks_has_the_syntax_of_the_command_line(self, plain, chunks):
        message = run("explain", plain, "--chunks", chunks).stderr
        assert f"`--chunks {shlex.quote(chunks)}`" in message
        for value in ("auto", "'256 MiB'", "32,256,-1,-1"):
            assert f"`--chunks {value}`" in message.split("remedy: ")[1]

    def test_problems_contain_options_instead_of_arguments(self, plain):
        message = run("info", plain, "--navigation-shape", "4,4").stderr
        assert message.startswith("error: `--navigation-shape 4,4` has 16 points")

    def test_warnings_contain_options_instead_of_arguments(self, plain):
        message = run("info", plain, "--sort-by-tilt", "--navigation-shape", "5").stderr
        assert message == (
            "warning: `--sort-by-tilt` is not used: `--navigation-shape` defines the sections\n"
        )

    @pytest.mark.parametrize("name", ["movie.mrc", "s3://bucket/a", "infos"])
    def test_file_instead_of_a_command_suggests_info(self, name):
        result = run(name)
        assert result.exit_code == 2
        assert (f"mrcdist info {name}" in result.stderr) == (name != "infos")

    def test_error_about_a_sidecar_has_its_path(self, plain, tmp_path):
        (tmp_path / "text.txt").write_text("no sidecar at all")
        message = run("info", plain, "--metadata-file", tmp_path / "text.txt").stderr
        assert f"where: {tmp_path / 'text.txt'}" in message

    def test_secrets_in_options_are_not_printed(self):
        secret = "s3cr3t-not-real"
        pairs = (f"secret={secret}", "key=k", "client_kwargs.endpoint_url=http://127.0.0.1:1")
        options = [word for pair in pairs for word in ("--storage-option", pair)]
        with dask.config.set({"mrcdist.retries": 0}):
            result = run("info", "s3://bucket/a.mrc", *options)
        assert result.exit_code == 1
        assert "127.0.0.1:1" in result.stderr
        assert secret not in result.output


def test_help_has_an_example_for_each_command():
    for command in ("info", "explain"):
        text = run(command, "--help").stdout
        assert f"mrcdist {command} s3://" in text
        assert "Usage:" in text


class TestCompletion:
    @pytest.mark.parametrize(
        "words", ["mrcdist info some/", "mrcdist info a.mrc --metadata-file some/"]
    )
    def test_file_names_are_completed_by_the_shell(self, words):
        variables = {
            "_MRCDIST_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        ran = CliRunner().invoke(main, prog_name="mrcdist", env=variables)
        assert ran.stdout.strip() == "file,some/"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("slurm", "mrcdist.sbatch"),
        ("slurm-array", "mrcdist-array.sbatch"),
        ("jobqueue", "jobqueue.yaml"),
    ],
)
def test_example_prints_the_file_in_deploy(name, file):
    done = CliRunner().invoke(main, ["example", name])
    text = (ROOT / "deploy" / "slurm" / file).read_text("utf-8")
    assert (done.exit_code, done.output) == (0, text)
