"""LiberTEM with its own executor, if it is installed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from tests.benchmarks.readers import Reader, Run
from tests.benchmarks.workloads import CROP, Workload, disk_mask, random_positions

__all__ = ["LiberTEM"]


class LiberTEM(Reader):
    """LiberTEM with threads, or with its pipelined executor, the fastest one with processes.

    Parameters
    ----------
    workers : int
        Number of threads or processes.
    threads : bool
        Whether to use threads.
    """

    name = "libertem"

    def __init__(self, workers: int, *, threads: bool) -> None:
        import libertem.api

        self._stack = ExitStack()
        context = libertem.api.Context
        self._context: Any = self._stack.enter_context(
            context.make_with("threads", cpus=workers)
            if threads
            else context.make_with("pipelined", cpus=workers)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self, workload: Workload) -> Run | None:
        from libertem.udf.masks import ApplyMasksUDF
        from libertem.udf.raw import PickUDF
        from libertem.udf.sum import SumUDF

        movie = workload.movie
        if workload.name == "virtual-image":
            mask = disk_mask()
            udf, divisor = ApplyMasksUDF(mask_factories=[lambda: mask]), mask.sum()
        elif workload.name == "mean-pattern":
            udf, divisor = SumUDF(), np.float64(movie.n_frames)
        elif workload.name == "cropped-detector":
            window = np.zeros(movie.shape[2:], np.float32)
            window[CROP, CROP] = 1
            udf, divisor = ApplyMasksUDF(mask_factories=[lambda: window]), np.float32(1)
        elif workload.name == "random-frames":
            udf = PickUDF()
        else:
            return None
        data = self._context.load("mrc", path=str(movie.path), nav_shape=movie.scan_shape)
        if workload.name == "random-frames":
            return lambda: [
                self._frame(data, udf, position) for position in random_positions(movie)
            ]
        return lambda: [np.squeeze(self._run(data, udf)) / divisor]

    def _run(self, data: Any, udf: Any, **options: Any) -> Any:
        return self._context.run_udf(dataset=data, udf=udf, **options)["intensity"].data

    def _frame(self, data: Any, udf: Any, position: tuple[int, int]) -> Any:
        roi = np.zeros(data.shape.nav.to_tuple(), bool)
        roi[position] = True
        return self._run(data, udf, roi=roi)[0]
