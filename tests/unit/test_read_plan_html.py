"""Display of a plan in notebooks, created without reading anything."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from mrcdist import plan_mrc
from mrcdist.stats import snapshot
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, header_bytes, mrc_bytes, write_mrc

VOID = {"line", "polygon", "br", "hr", "img"}


class Page(HTMLParser):
    """Text and elements of an HTML fragment, which must be well-formed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.tags = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


def html_of(plan):
    return Page(plan._repr_html_())


def test_html_shows_array_cost_axes_and_chart(tmp_path):
    path = write_mrc(
        tmp_path / "a.mrc", counting((6, 40, 50), "float32"), cell=(500.0, 400.0, 60.0)
    )
    page = html_of(plan_mrc(path, chunks=(2, -1, -1)))
    for text in ("6 × 40 × 50 float32", "2 × 40 × 50", "a grid of 3 × 1 × 1", "tasks    3", "1 nm"):
        assert text in page.text
    assert str(path) in page.text
    assert page.tags.count("svg") == 1
    assert [tag for tag in page.tags if tag == "table"] == ["table"] * 2


@pytest.mark.parametrize(
    "raw",
    [
        header_bytes(nx=4, ny=4, nz=0, mode=2),
        mrc_bytes(counting((1, 5, 6), "int16")),
        mrc_bytes(counting((1, 1, 1), "int16")),
        header_bytes(nx=6, ny=5, nz=1, mode=16) + bytes(90),
    ],
    ids=["no frames", "an image", "one pixel", "colours"],
)
def test_html_can_be_created_for_every_kind_of_array(raw, memory_file):
    assert "array" in html_of(plan_mrc(memory_file(raw))).text


def test_html_lists_companion_images_without_any_request(tmp_path):
    movie = write_acquisition(
        tmp_path / "data",
        scan_shape=(3, 4),
        frame_shape=(4, 4),
        virtual_images={"BF": np.ones((3, 4), np.float32)},
        sidecar={"Specimen Pixel Size X (nanometers)": "2"},
    ).movie
    plan = plan_mrc(movie)
    shutil.rmtree(tmp_path / "data")
    before = snapshot()
    page = html_of(plan)
    assert snapshot() == before
    assert "BF" in page.text
    assert "2 nm" in page.text


def test_html_lists_only_the_requested_companion_images(tmp_path):
    images = {"BF": np.ones((3, 4), np.float32)}
    movie = write_acquisition(
        tmp_path, scan_shape=(3, 4), frame_shape=(4, 4), virtual_images=images
    ).movie
    assert "BF" in html_of(plan_mrc(movie)).text
    assert "BF" not in html_of(plan_mrc(movie, virtual_images=None)).text
    assert "other" in html_of(plan_mrc(movie, virtual_images=[tmp_path / "other.mrc"])).text


def test_creating_html_does_not_list_the_folder(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting((2, 4, 4), "int16"))
    plan = plan_mrc(path, tilt_file=None)
    html_of(plan)
    assert "listing" not in vars(plan.directory)


def test_file_names_are_escaped_in_html(tmp_path):
    folder = tmp_path / "<script>alert(1)</script>&"
    folder.mkdir(parents=True)
    path = write_mrc(folder / "<b>.mrc", counting((2, 4, 4), "int16"))
    page = html_of(plan_mrc(path))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "<b>.mrc" in page.text


def test_html_shows_notes(memory_file):
    raw = mrc_bytes(counting((2, 4, 4), "int16")) + b"more"
    with pytest.warns(match="4 bytes follow"):
        plan = plan_mrc(memory_file(raw))
    assert "4 bytes follow" in html_of(plan).text


def test_html_shows_the_range_of_tilt_angles(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 4), "int16"))
    (tmp_path / "a.tlt").write_text("0\n3\n-3\n")
    assert "−3 to 3 deg" in html_of(plan_mrc(path)).text


def test_html_marks_uneven_tilt_angles(tmp_path):
    path = write_mrc(tmp_path / "t.mrc", counting((3, 4, 4), "int16"))
    (tmp_path / "t.tlt").write_text("-60\n-1\n60\n")
    assert "uneven" in html_of(plan_mrc(path, tilt_file=tmp_path / "t.tlt")).text
