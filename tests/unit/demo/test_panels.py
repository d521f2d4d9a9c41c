"""Panels of the demo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from demo.panels import direction_colours, draw_tasks


class TestPanels:
    @pytest.mark.parametrize(
        ("y", "x", "strongest", "weakest"),
        [(0, 1, "r", "gb"), (-1, 0, "g", "b"), (0, -1, "gb", "r"), (1, 0, "b", "g")],
    )
    def test_direction_of_a_deflection_determines_the_colour(
        self, y: int, x: int, strongest: str, weakest: str
    ) -> None:
        colour = dict(zip("rgb", direction_colours(np.array(y), np.array(x), 1.0), strict=True))
        assert {name for name in "rgb" if colour[name] == pytest.approx(1)} == set(strongest)
        assert {name for name in "rgb" if colour[name] == pytest.approx(0.1)} == set(weakest)

    def test_length_of_a_deflection_determines_the_brightness(self) -> None:
        lengths = np.array([0.0, 0.5, 1.0, 7.0])
        brightest = direction_colours(np.zeros(4), lengths, 1.0).max(axis=-1)
        np.testing.assert_allclose(brightest, [0, 0.5, 1, 1])

    def test_tasks_are_drawn_as_bars_in_the_row_of_their_worker(self) -> None:
        from matplotlib.figure import Figure

        def task(key: Any, worker: str, *parts: tuple[str, float, float]) -> dict[str, Any]:
            times = [{"action": a, "start": s, "stop": e} for a, s, e in parts]
            return {"key": key, "worker": worker, "thread": 1, "startstops": times}

        panel = Figure().subplots()
        seconds = draw_tasks(
            panel,
            [
                task(("read-mrc-1", 0), "a", ("compute", 10, 12)),
                task(("read-mrc-1", 1), "b", ("compute", 10.5, 11.5)),
                task(("sum-1", 0), "b", ("transfer", 12, 12.5), ("compute", 12.5, 13)),
                task("odd", "a", ("compute", 13, 13.25)),
            ],
            {"read": ("read", "blue"), "sum": ("sum", "green")},
        )
        assert seconds == {
            "read": 3.0, "sum": 0.5, "other tasks": 0.25, "transfer between workers": 0.5
        }  # fmt: skip
        bars = {(round(bar.get_y() + 0.4), bar.get_x(), bar.get_width()) for bar in panel.patches}
        assert bars == {
            (0, 0, 2), (1, 0.5, 1), (1, 2, 0.5), (1, 2.5, 0.5), (0, 3, 0.25)
        }  # fmt: skip
        assert [label.get_text() for label in panel.get_yticklabels()] == ["worker 1", "worker 2"]
