"""Labelled lines that describe a plan."""

from __future__ import annotations

import json

import pytest

from mrcdist import plan_mrc
from mrcdist.plan_summary import summary_lines
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, write_mrc


@pytest.mark.parametrize("sort", [False, True])
def test_axis_of_a_tilt_series_or_its_metadata_has_the_angles(tmp_path, sort):
    path = write_mrc(tmp_path / "t.mrc", counting((3, 4, 5), "int16"))
    (tmp_path / "t.tlt").write_text("0\n3\n-3\n")
    lines = dict(summary_lines(plan_mrc(path, sort_by_tilt=sort)))
    steps = "3 deg per step, from −3 deg" if sort else "not monotonic, −3 to 3 deg"
    assert lines["tilt"] == f"3, navigation, {steps}"
    assert lines.get("tilt alpha") == (None if sort else "3 values from −3 to 3 deg")


def test_metadata_have_units_and_can_be_limited(tmp_path):
    voltage = {"Instrument Accelerating Voltage (V)": "200000"}
    movie = write_acquisition(
        tmp_path, scan_shape=(3, 4), frame_shape=(4, 4), sidecar=voltage
    ).movie
    plan = plan_mrc(movie)
    lines = summary_lines(plan)
    assert ("array", "3 × 4 × 4 × 4 uint16, 384 B") in lines
    assert ("beam energy", "200 keV") in lines
    limited = summary_lines(plan, max_metadata=2)
    [(label, text)] = [line for line in limited if line not in lines]
    omitted = len(lines) + 1 - len(limited)
    assert (label, text) == ("", f"and {omitted} more: mrcdist info")


def test_metadata_are_complete_and_have_distinct_labels(tmp_path):
    cameras = {
        "EELS": {"dwell_time": 0.5, "name": "GIF"},
        "Camera": {"dwell_time": 0.001464212499, "name": "Celeritas"},
    }
    document = {
        "General": {"title": "lamella 3", "authors": "A. Curie", "original_filename": "b.mrc"},
        "Acquisition_instrument": {"TEM": {"magnification": 1234567.0, "Detector": cameras}},
    }
    path = write_mrc(
        tmp_path / "a.mrc",
        counting((3, 4, 5), "int16"),
        extended=json.dumps(document).encode(),
        exttyp=b"json",
    )
    assert summary_lines(plan_mrc(path))[5:] == [
        ("title", "lamella 3"),
        ("authors", "A. Curie"),
        ("magnification", "1234567"),
        ("eels dwell time", "0.5 s"),
        ("eels name", "GIF"),
        ("camera dwell time", "0.001464212 s"),
        ("camera name", "Celeritas"),
    ]
