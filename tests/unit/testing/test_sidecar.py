"""Sidecars of synthetic acquisitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import sidecar_values

FRAME = (3, 5)


class TestSidecar:
    @pytest.mark.parametrize(("server", "newline"), [("new", b"\n"), ("2.7", b"\r\n")])
    def test_sidecar_lines_have_the_layout_of_real_files(
        self, tmp_path: Path, server: Any, newline: bytes
    ) -> None:
        raw = write_acquisition(tmp_path, frame_shape=FRAME, server=server).sidecar.read_bytes()
        assert raw.count(b"\n") == raw.count(newline)
        lines = raw.decode("latin-1").splitlines()
        assert lines[0].startswith("Server Software Version")
        assert {line.index("=") for line in lines} == {64}

    def test_sidecar_keys_occur_in_real_files(self, tmp_path: Path, real_data: Path) -> None:
        names = real_data.parent / "de-info-keys.tsv"
        if not names.exists():
            pytest.skip(f"the list of keys in real files, {names}, does not exist")
        known = {line.split("\t")[0] for line in names.read_text().splitlines()}
        for server in ("new", "2.7"):
            written = write_acquisition(tmp_path, frame_shape=FRAME, server=server)
            assert set(sidecar_values(written)) <= known

    @pytest.mark.parametrize(
        ("server", "present", "absent"),
        [
            ("2.7", "Scan - Point Repeat", "Scan - Camera Frames Per Point"),
            ("new", "Scan - Camera Frames Per Point", "Scan - Point Repeat"),
            ("2.7", "ADUs Per Electron Bin1x", "ADUs Per Electron"),
            ("new", "ADUs Per Electron", "ADUs Per Electron Bin1x"),
        ],
    )
    def test_spelling_of_sidecar_keys_depends_on_the_server_version(
        self, tmp_path: Path, server: Any, present: str, absent: str
    ) -> None:
        written = write_acquisition(tmp_path, frame_shape=FRAME, point_repeats=3, server=server)
        values = sidecar_values(written)
        assert present in values
        assert absent not in values

    def test_sidecar_describes_the_frames_and_calibrates_x_and_y_differently(
        self, tmp_path: Path
    ) -> None:
        values = sidecar_values(
            write_acquisition(tmp_path, name="20260203_00042_ice", frame_shape=FRAME)
        )
        assert (values["Image Size Y (pixels)"], values["Image Size X (pixels)"]) == ("3", "5")
        assert values["Dataset Name"] == "20260203_00042_ice"
        assert values["Autosave Filename Suffix"] == "ice"
        assert values["Autosave Movie Frames File Path"].endswith("\\20260203_00042_ice_movie.mrc")
        for key in ("Specimen Pixel Size {} (nanometers)", "Diffraction Pixel Size {}"):
            assert float(values[key.format("X")]) != float(values[key.format("Y")])

    @pytest.mark.parametrize(
        ("dtype", "mode", "counted", "integrated"),
        [
            ("uint8", "Counting", "uint8", "uint16"),
            ("float32", "Integrating", "uint8", "float32"),
            ("uint16", "Integrating", "uint8", "uint16"),
        ],
    )
    def test_sidecar_contains_the_pixel_type(
        self, tmp_path: Path, dtype: str, mode: str, counted: str, integrated: str
    ) -> None:
        values = sidecar_values(write_acquisition(tmp_path, frame_shape=FRAME, dtype=dtype))
        assert values["Image Processing - Mode"] == mode
        assert values["Autosave Counted Movie Pixel Format"] == counted
        assert values["Autosave Integrated Movie Pixel Format"] == integrated

    def test_sidecar_values_can_be_replaced_added_and_omitted(self, tmp_path: Path) -> None:
        changes = {"Scan - Repeats": "-1", "Note": "a = b", "Scan - Size X": None}
        values = sidecar_values(write_acquisition(tmp_path, frame_shape=FRAME, sidecar=changes))
        assert values["Scan - Repeats"] == "-1"
        assert values["Note"] == "a = b"
        assert "Scan - Size X" not in values
