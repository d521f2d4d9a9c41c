"""`mrcdist preview`: reads what was estimated, within the budget, and draws it."""

from __future__ import annotations

import gzip
import io
import json
import sys

import dask
import matplotlib.image
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import AxesImage

from demo.field import demo_frames
from mrcdist import ArgumentError, MissingExtraError, MrcdistError, plan_mrc
from mrcdist.cli import main
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.preview.preview import plan_preview
from mrcdist.stats import snapshot
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, header_bytes, mrc_bytes, write_mrc

CELL = {"cell": (60.0, 50.0, 40.0)}
LARGE = 2**20


def rgb_bytes():
    colours = np.random.default_rng(5).integers(0, 255, (1, 5, 6, 3)).astype(np.uint8)
    return header_bytes(nx=6, ny=5, nz=1, mode=16) + colours.tobytes()


def four_bit_bytes():
    packed = np.random.default_rng(5).integers(0, 255, (2, 5, 4)).astype(np.uint8)
    return header_bytes(nx=7, ny=5, nz=2, mode=101, intervals=(7, 5, 1)) + packed.tobytes()


KINDS = {
    "volume": (mrc_bytes(counting((4, 5, 6), "float32"), ispg=1, **CELL), ["yx", "zx", "yz"]),
    "stack": (mrc_bytes(counting((4, 5, 6), "int16"), intervals=(6, 5, 1)), ["frame"] * 4),
    "image": (mrc_bytes(counting((1, 5, 6), "float16")), ["frame"]),
    "complex": (mrc_bytes(counting((1, 5, 6), "complex64")), ["magnitude", "phase"]),
    "complex stack": (
        mrc_bytes(counting((2, 5, 6), "complex64"), intervals=(6, 5, 1)),
        ["frame"] * 2,
    ),
    "rgb": (rgb_bytes(), ["frame"]),
    "four bits": (four_bit_bytes(), ["frame"] * 2),
    "constant": (mrc_bytes(np.zeros((1, 5, 6), np.int16)), ["frame"]),
    "not a number": (mrc_bytes(np.full((1, 5, 6), np.nan, np.float32)), ["frame"]),
    "big-endian": (mrc_bytes(counting((1, 5, 6), "uint16"), byteorder=">"), ["frame"]),
}


def read_preview(plan, **options):
    """Plan and read a preview; check that its cost is as estimated."""
    preview = plan_preview(plan, **options)
    before = snapshot()
    panels = preview.panels()
    read = snapshot() - before
    assert Cost(read.requests, read.nbytes) == preview.cost
    return preview, panels


def draw(preview, panels):
    """Draw the figure, and check that the PNG has more than one colour."""
    file = io.BytesIO()
    figure = preview.figure(panels)
    figure.savefig(file, format="png")
    file.seek(0)
    assert matplotlib.image.imread(file).std() > 0
    return figure


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("volume", {"stored values"}), ("complex", {"stored values", "radians"})],
)
def test_colour_bars_have_labels(kind, expected, memory_file):
    preview, panels = read_preview(plan_mrc(memory_file(KINDS[kind][0])))
    assert bar_labels(draw(preview, panels)) == expected


def bar_labels(figure):
    """Return the labels of the colour bars of a figure."""
    bars = [image.colorbar for image in figure.findobj(AxesImage) if image.colorbar]
    return {bar.ax.get_ylabel() for bar in bars}


@pytest.mark.parametrize("kind", KINDS)
def test_panels_depend_on_the_kind_of_file(kind, memory_file):
    raw, names = KINDS[kind]
    preview, panels = read_preview(plan_mrc(memory_file(raw)))
    assert [panel.name for panel in panels] == names
    draw(preview, panels)
    assert preview.cost.nbytes == preview.plan.layout.n_frames * preview.plan.layout.frame_bytes


@pytest.mark.parametrize("io_setting", ["map", "read"])
@pytest.mark.parametrize("budget", [LARGE, 3000, 500])
def test_cost_of_a_preview_is_as_estimated_on_a_local_disk(tmp_path, io_setting, budget):
    volume = counting((12, 11, 10), "float32")
    path = write_mrc(tmp_path / "a.mrc", volume, ispg=1, **CELL)
    with dask.config.set({"mrcdist.io": io_setting}):
        preview, panels = read_preview(plan_mrc(path), budget=budget)
    assert preview.cost.nbytes <= budget
    assert preview.cost.requests == (0 if io_setting == "map" else preview.pieces)
    z, y, _ = preview.sample.at
    np.testing.assert_array_equal(panels[1].image, volume[list(preview.sample.along_row), y])
    assert panels[0].title == f"yx at z {z} of 12"


@pytest.mark.parametrize("budget", [LARGE, 4000])
def test_cost_of_a_preview_is_as_estimated_in_memory(memory_file, budget):
    plan = plan_mrc(memory_file(mrc_bytes(counting((12, 11, 10), "float32"), ispg=1, **CELL)))
    preview, _ = read_preview(plan, budget=budget)
    assert 0 < preview.cost.nbytes <= budget
    assert preview.cost.requests == preview.pieces


def test_start_of_a_compressed_stream_is_read_once(memory_file):
    stack = counting((8, 5, 6), "int16")
    raw = gzip.compress(mrc_bytes(stack, ispg=1, **CELL))
    with pytest.warns(match="gzip"):
        plan = plan_mrc(memory_file(raw, "a.mrc.gz"))
    preview, panels = read_preview(plan, budget=LARGE)
    assert [panel.name for panel in panels] == ["yx", "zx", "yz"]
    preview, panels = read_preview(plan, budget=200)
    assert [panel.title for panel in panels] == ["z 0 of 8", "z 1 of 8", "z 2 of 8"]
    np.testing.assert_array_equal(panels[2].image, stack[2])
    assert preview.cost == Cost(1, 180)
    assert any("one compressed stream" in note for note in preview.notes)


def test_sections_of_mrcz_are_read_whole(tmp_path):
    mrcz = pytest.importorskip("mrcz")
    volume = counting((9, 20, 30), "float32")
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(volume, str(path), compressor="zstd")
    preview, panels = read_preview(plan_mrc(path), budget=3 * 2400, view="volume")
    assert [piece.rows for piece in preview.sample.pieces] == [range(20)] * 3
    z, _, x = preview.sample.at
    np.testing.assert_array_equal(panels[0].image, volume[z])
    np.testing.assert_array_equal(
        panels[2].image, volume[list(preview.sample.along_column), :, x].T
    )
    assert preview.cost.nbytes < 3 * 2400


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Write an acquisition with a bright disk, and images of which one has another shape."""
    shape = (6, 7)
    frames = demo_frames(shape, (32, 32))
    images = {"BF": counting(shape, "float32")}
    return write_acquisition(
        tmp_path_factory.mktemp("scan"),
        scan_shape=shape,
        frame_shape=(32, 32),
        frames=frames,
        virtual_images={"odd": np.ones((3, 3), np.float32), **images},
        external_images={"HAADF": 2 * images["BF"]},
    )


def test_first_companion_image_of_the_same_shape_is_shown(scan):
    preview, panels = read_preview(plan_mrc(scan.movie))
    assert [panel.name for panel in panels] == ["image", "mean pattern", "one pattern"]
    assert panels[0].title.startswith("BF, from ")
    np.testing.assert_array_equal(panels[0].image, counting((6, 7), "float32"))
    assert preview.cost.nbytes == 6 * 7 * 32 * 32 * 2 + 6 * 7 * 4


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"virtual_images": None}, "HAADF", 2),
        ({"virtual_images": None, "external_images": None}, "bright field", None),
        ({"virtual_images": []}, "HAADF", 2),
    ],
)
def test_only_requested_companion_images_are_shown(scan, options, name, value):
    _, [panel, *_] = read_preview(plan_mrc(scan.movie, **options))
    assert name in (panel.name, panel.title.partition(",")[0])
    if value is not None:
        np.testing.assert_array_equal(panel.image, value * counting((6, 7), "float32"))


def test_companion_image_that_the_caller_passes_must_be_readable(scan, tmp_path):
    (tmp_path / "bad.mrc").write_bytes(b"no image")
    plan = plan_mrc(scan.movie, virtual_images=[tmp_path / "bad.mrc"])
    with pytest.raises(MrcdistError, match=r"bad\.mrc"):
        plan_preview(plan)


def test_scan_without_companion_images_shows_virtual_images(scan, tmp_path):
    for path in (scan.movie, scan.sidecar):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    preview, panels = read_preview(plan_mrc(tmp_path / scan.movie.name))
    assert [panel.name for panel in panels] == [
        "bright field",
        "dark field",
        "mean pattern",
        "one pattern",
    ]
    bright, dark, mean, _ = panels
    assert len(mean.rings) == 2
    assert (bright.down.name, bright.across.name) == ("y", "x")
    assert bright.image.shape == dark.image.shape == (6, 7)
    assert bright.image.mean() > 10 * dark.image.mean()
    assert mean.contrast == "log"
    assert bar_labels(draw(preview, panels)) == {
        "counts per pixel",
        "mean over the detector, counts per pixel",
    }


def test_unreadable_companion_image_is_skipped_with_a_note(scan, tmp_path):
    for path in scan.files:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for path in scan.companions:
        (tmp_path / path.name).write_bytes(b"not an image")
    preview, panels = read_preview(plan_mrc(tmp_path / scan.movie.name))
    assert panels[0].name == "bright field"
    assert sum("is left out" in note for note in preview.notes) == len(scan.companions)


def test_missing_frames_of_an_aborted_scan_are_blank(tmp_path):
    acquisition = write_acquisition(tmp_path, scan_shape=(4, 5), frame_shape=(8, 8), present=13)
    with pytest.warns(match="missing"):
        plan = plan_mrc(acquisition.movie, allow_truncated=True)
    preview, panels = read_preview(plan)
    assert np.isnan(panels[0].image).sum() == 7
    assert preview.cost.nbytes == 13 * 128


def test_only_the_first_of_several_repeats_is_shown_with_a_note(tmp_path):
    acquisition = write_acquisition(tmp_path, scan_shape=(3, 4), frame_shape=(8, 8), repeats=2)
    preview, panels = read_preview(plan_mrc(acquisition.movie))
    assert preview.cost.nbytes == 12 * 128
    assert panels[0].image.shape == (3, 4)
    assert [note for note in preview.notes if "the first of 2" in note]


def test_file_changed_after_planning_is_an_error(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"))
    preview = plan_preview(plan_mrc(path))
    write_mrc(path, counting((4, 4, 5), "int16"))
    with pytest.raises(OSError, match="changed since it was planned"):
        preview.panels()


def test_empty_file_and_tiny_budget_are_errors_with_a_remedy(memory_file):
    with pytest.raises(ArgumentError) as raised:
        plan_preview(plan_mrc(memory_file(header_bytes(nx=4, ny=4, nz=0, mode=2))))
    assert (raised.value.code, raised.value.argument) == ("pixels-missing", "data")
    plan = plan_mrc(memory_file(mrc_bytes(counting((1, 5, 6), "float32"))))
    with pytest.raises(ArgumentError, match="raise the budget"):
        plan_preview(plan, budget=10)


# The command


def test_command_prints_the_estimate_and_what_was_read(scan, tmp_path):
    out = tmp_path / "look.png"
    ran = CliRunner().invoke(main, ["preview", str(scan.movie), "-o", str(out)])
    assert ran.exit_code == 0, ran.output
    lines = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines()[1:])
    assert lines["to"].removeprefix("read  ") == lines["read"]
    assert "86,184 bytes" in lines["read"]
    assert "announced" not in ran.stdout
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_command_never_replaces_its_input(scan, tmp_path, link):
    out = tmp_path / "look.png"
    getattr(out, link)(scan.movie)
    before = scan.movie.read_bytes()
    ran = CliRunner().invoke(main, ["preview", str(scan.movie), "-o", str(out)])
    assert ran.exit_code == 1
    assert "is an input" in ran.output
    assert scan.movie.read_bytes() == before


def test_command_prints_json(scan, tmp_path):
    out = tmp_path / "look.png"
    ran = CliRunner().invoke(main, ["preview", "--json", str(scan.movie), "-o", str(out)])
    found = json.loads(ran.stdout)
    assert found["announced"] == found["read"] == {"bytes": 86184, "requests": 2}
    assert found["view"] == "scan"
    assert len(found["panels"]) == 3


@pytest.mark.parametrize("sort", [False, True])
def test_images_of_a_sorted_tilt_series_have_their_angles(tmp_path, sort):
    numbers = np.arange(3, dtype="int16").repeat(64 * 64).reshape(3, 64, 64)
    movie = write_mrc(tmp_path / "t.mrc", numbers)
    (tmp_path / "t.tlt").write_text("0\n3\n-3\n")
    preview = plan_preview(plan_mrc(movie, sort_by_tilt=sort))
    shown = {panel.title: set(np.unique(panel.image)) for panel in preview.panels()}
    assert shown == {"tilt 0 deg": {0}, "tilt 3 deg": {1}, "tilt −3 deg": {2}}
    assert next(iter(shown)) == ("tilt −3 deg" if sort else "tilt 0 deg")


def test_images_are_named_by_the_angles_of_a_tilt_file(tmp_path):
    path = write_mrc(tmp_path / "t.mrc", counting((3, 4, 5), "int16"))
    tilts = tmp_path / "t.rawtlt"
    tilts.write_text("-60\n0\n60\n")
    command = ["preview", "--json", str(path), "-o", str(tmp_path / "t.png")]
    ran = CliRunner().invoke(main, [*command, "--tilt-file", str(tilts)])
    assert json.loads(ran.stdout)["panels"] == ["tilt −60 deg", "tilt 0 deg", "tilt 60 deg"]


@pytest.mark.parametrize(
    ("extra", "status", "message"),
    [
        (["--budget", "lots"], 2, 'expected a size of at least one byte, such as "64 MiB"'),
        (["--budget", "-5"], 2, "at least one byte"),
        (["--budget", "9"], 1, "raise the budget"),
        (["--view", "scan"], 1, "--navigation-shape"),
    ],
)
def test_invalid_options_are_errors_with_a_remedy(tmp_path, extra, status, message):
    path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"))
    ran = CliRunner().invoke(main, ["preview", str(path), "-o", str(tmp_path / "a.png"), *extra])
    assert ran.exit_code == status
    assert message in ran.output
    assert not (tmp_path / "a.png").exists()


def test_missing_output_folder_is_an_error_before_reading(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"))
    before = snapshot()
    ran = CliRunner().invoke(main, ["preview", str(path), "-o", str(tmp_path / "no" / "a.png")])
    assert ran.exit_code == 2
    assert "no such folder" in ran.output
    assert snapshot() == before


def test_error_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"))
    preview = plan_preview(plan_mrc(path))
    panels = preview.panels()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install .\.\[plot\]"):
        preview.figure(panels)
    ran = CliRunner().invoke(main, ["preview", str(path), "-o", str(tmp_path / "a.png")])
    assert ran.exit_code == 1
    assert '".[plot]"' in ran.output


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_of_every_command_has_an_example(command):
    ran = CliRunner().invoke(main, [command, "--help"])
    assert ran.exit_code == 0
    assert "Example" in ran.output
    assert f"mrcdist {command} " in ran.output


def test_errors_are_coloured_only_on_terminals(tmp_path, monkeypatch):
    command = ["info", str(tmp_path / "no.mrc")]
    assert "\x1b[" not in CliRunner().invoke(main, command).output
    assert "\x1b[31m" in CliRunner().invoke(main, command, color=True).output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in CliRunner().invoke(main, command, color=True).output


def test_shells_complete_commands():
    environment = {
        "_MRCDIST_COMPLETE": "bash_complete",
        "COMP_WORDS": "mrcdist pre",
        "COMP_CWORD": "1",
    }
    ran = CliRunner().invoke(main, prog_name="mrcdist", env=environment)
    assert "plain,preview" in ran.output
