"""Frames of the demo, and the deflection by its magnetic film."""

from __future__ import annotations

import numpy as np
import pytest

from demo.field import demo_detectors, demo_frames
from demo.magnetism import magnetic_deflection
from mrcdist.errors import ArgumentError


class TestDemoFrames:
    SCAN, SIZE = (12, 16), (48, 64)

    def test_frame_of_the_demo_depends_only_on_its_index(self) -> None:
        first, second = demo_frames(self.SCAN, self.SIZE), demo_frames(self.SCAN, self.SIZE)
        forwards = [first(index) for index in range(8)]
        backwards = [second(index) for index in reversed(range(8))]
        np.testing.assert_array_equal(forwards, backwards[::-1])
        assert forwards[0].shape == self.SIZE
        assert forwards[0].dtype == "uint16"

    def test_corner_of_the_demo_field_is_vacuum_and_its_film_diffracts(self) -> None:
        frame, detectors = demo_frames(self.SCAN, self.SIZE), demo_detectors(self.SIZE)
        assert not np.any(detectors.bright & detectors.dark)
        vacuum, film = frame(self.SCAN[1] - 1), frame(self.SCAN[1] * (self.SCAN[0] - 1))
        assert vacuum[detectors.bright].sum() > film[detectors.bright].sum()
        assert vacuum[detectors.dark].sum() < film[detectors.dark].sum() / 10

    def test_deflection_shifts_the_whole_diffraction_pattern(self) -> None:
        undeflected = demo_frames(self.SCAN, self.SIZE, deflection=np.zeros((*self.SCAN, 2)))
        deflected = demo_frames(self.SCAN, self.SIZE, deflection=np.full((*self.SCAN, 2), (3, -2)))
        vacuum = self.SCAN[1] - 1
        # Disks move by whole pixels; the faint background does not move.
        disk = undeflected(vacuum).astype(int)
        shifted = np.roll(disk > 5, (3, -2), axis=(0, 1))
        np.testing.assert_array_equal(deflected(vacuum) > 5, shifted)

    def test_deflection_with_the_wrong_shape_is_an_error(self) -> None:
        with pytest.raises(ArgumentError, match=r"\(16, 12, 2\)") as raised:
            demo_frames(self.SCAN, self.SIZE, deflection=np.zeros((16, 12, 2)))
        assert raised.value.argument == "deflection"

    def test_beam_is_deflected_only_in_the_magnetic_film(self) -> None:
        shift = np.hypot(*np.moveaxis(magnetic_deflection((48, 48), pixels=0.6), -1, 0))
        assert not shift[:8, -8:].any()
        assert shift.max() == pytest.approx(0.6, abs=1e-3)
        # The magnetisation has no in-plane component in the core of a vortex.
        assert shift[31, 14] < 0.3
