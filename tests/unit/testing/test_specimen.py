"""Simulated diffraction patterns of a crystal."""

from __future__ import annotations

import numpy as np

from mrcdist.testing.specimen import crystal_frames


class TestCrystalFrames:
    SCAN, SIZE = (12, 16), (64, 48)

    def test_frame_of_a_crystal_depends_only_on_its_index(self) -> None:
        first, second = crystal_frames(self.SCAN, self.SIZE), crystal_frames(self.SCAN, self.SIZE)
        backwards = [second(index) for index in (100, 3)]
        np.testing.assert_array_equal(first(3), backwards[1])
        np.testing.assert_array_equal(first(100), backwards[0])
        assert first(3).dtype == np.uint16
        assert first(3).shape == self.SIZE

    def test_crystal_film_diffracts_and_its_hole_does_not(self) -> None:
        frame = crystal_frames(self.SCAN, self.SIZE)
        y, x = np.indices(self.SIZE)
        direct = np.hypot(y - self.SIZE[0] // 2, x - self.SIZE[1] // 2) < 0.08 * min(self.SIZE)
        hole, film = frame(15), frame(11 * 16)
        assert hole[~direct].sum() == 0
        assert film[~direct].sum() > 0
        assert hole[direct].sum() > film[direct].sum() > 0
