"""Plan of a preview, with its cost, and the images and the overview made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from mrcdist.errors import MrcdistError
from mrcdist.formatting import format_count
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.plan_summary import summary_lines
from mrcdist.planner import plan_image
from mrcdist.preview.choose_sample import choose_sample
from mrcdist.preview.overview_page import draw_overview
from mrcdist.preview.panels import Panel, image_panels, scan_panels, volume_panels
from mrcdist.preview.reading import cost_of, read_pieces
from mrcdist.preview.sample import (
    DEFAULT_BUDGET,
    ImagesSample,
    Sample,
    SampleLimits,
    ScanSample,
    View,
    ViewKind,
    VolumeSample,
    choose_view,
    require_budget,
)
from mrcdist.progress import Progress
from mrcdist.read_plan import Plan
from mrcdist.warning_notes import Note, Notes


@dataclass(frozen=True)
class Preview:
    """Plan of a preview: the sample of a file, its total cost, and notes on what is not shown.

    The `image` of a scan replaces its virtual images. It is the preview of another file, and `name`
    is its name among the companion images of the scan.
    """

    plan: Plan
    view: View
    sample: Sample
    cost: Cost
    notes: tuple[Note, ...] = ()
    image: Preview | None = None
    name: str = ""

    @property
    def pieces(self) -> int:
        """Number of pieces to read."""
        return len(self.sample.pieces) + (self.image.pieces if self.image else 0)

    def describe_cost(self, cost: Cost) -> str:
        """Describe a cost of reading: bytes, requests, and the share of all pixels."""
        nbytes, total = cost.nbytes, self.plan.layout.nbytes
        exactly = f" ({nbytes:,} bytes)" if nbytes >= 1024 else ""
        share = f", {100 * nbytes / total:.2g}\u00a0% of the pixels" if nbytes < total else ""
        access = (
            format_count(cost.requests, "request")
            if cost.requests
            else f"{format_count(self.pieces, 'piece')}, mapped from disk"
        )
        return f"{format_bytes(nbytes)}{exactly} in {access}{share}"

    def panels(self) -> tuple[Panel, ...]:
        """Read the sample, in threads of this process, and return its images."""
        with Progress("reading", self.pieces) as progress:
            return self._panels(progress)

    def _panels(self, progress: Progress) -> tuple[Panel, ...]:
        axes, sample, image = self.plan.axes, self.sample, None
        if self.image is not None:
            y, x = (axes[axis] for axis in self.view.plane)
            title = f"{self.image.name}, from {self.image.plan.location.name}"
            image = Panel("image", title, self.image._panels(progress)[0].image, y, x)
        pixels = read_pieces(self.plan.source, sample.pieces, progress)
        if isinstance(sample, ScanSample):
            return scan_panels(sample, pixels, axes, self.view.plane, image)
        if isinstance(sample, VolumeSample):
            return volume_panels(sample, pixels, axes[-3:])
        assert isinstance(sample, ImagesSample)  # noqa: S101 there are no others
        return image_panels(sample, pixels, axes)

    def figure(self, panels: tuple[Panel, ...]) -> Any:
        """Return a matplotlib figure of the images and of the metadata."""
        lines = [
            *summary_lines(self.plan, max_metadata=18),
            ("read", self.describe_cost(self.cost)),
            *(("note", note) for note in (*self.notes, *self.plan.notes)),
        ]
        planes = isinstance(self.sample, VolumeSample)
        return draw_overview(panels, title=self.plan.location.name, lines=lines, planes=planes)


def plan_preview(
    plan: Plan, *, budget: int = DEFAULT_BUDGET, view: ViewKind | None = None
) -> Preview:
    """Choose what to read for a preview of a file within a budget in bytes; no pixel is read.

    By default, the view is chosen by the axes and the space group of the file.

    Raises
    ------
    ArgumentError
        The budget is too small, the file is empty, or its axes do not allow the view.
    """
    require_budget(budget)
    chosen = choose_view(plan.layout, plan.axes, ispg=plan.header.ispg, view=view)
    notes = Notes()
    image = _find_image(plan, chosen, budget, notes)
    image_cost = image.cost if image is not None else Cost(0, 0)
    # A compressed section of MRCZ may be larger than uncompressed, but only by its headers.
    sample = choose_sample(
        plan.layout,
        chosen,
        _limits(plan, budget - image_cost.nbytes),
        table=plan.source.table,
        virtual_image=image is None,
    )
    if chosen.kind != "images":
        if isinstance(sample, ImagesSample):
            text = f"one compressed stream: only its first {format_bytes(budget)} are shown"
            notes.add(Note("shown-in-part", text))
        for i, axis in enumerate(axis for axis in plan.axes if axis.navigate):
            if i not in chosen.plane:
                text = f"only the first of {axis.size} positions along {axis.name} is shown"
                notes.add(Note("shown-in-part", text))
    cost = cost_of(plan.source, sample.pieces)
    total = Cost(cost.requests + image_cost.requests, cost.nbytes + image_cost.nbytes)
    return Preview(plan, chosen, sample, total, tuple(notes), image)


def _limits(plan: Plan, budget: int) -> SampleLimits:
    part = plan.source.parts[0]
    return SampleLimits(
        budget, whole_frames=part.sections is not None, stream=part.compression is not None
    )


def _find_image(plan: Plan, view: View, budget: int, notes: Notes) -> Preview | None:
    """Return the first companion image with the shape of the scan; note unreadable ones."""
    if view.kind != "scan":
        return None
    shape = tuple(plan.layout.navigation_shape[axis] for axis in view.plane)
    for image in plan.companions.find():
        try:
            image_plan = plan_image(image)
            if image_plan.layout.frame_shape != shape or image_plan.layout.nbytes == 0:
                continue
            image_view = View("images", ())
            limits = _limits(image_plan, budget // 4)
            sample = choose_sample(image_plan.layout, image_view, limits, max_images=1)
        except MrcdistError as error:
            notes.add(image.left_out(error))
        else:
            cost = cost_of(image_plan.source, sample.pieces)
            return Preview(image_plan, image_view, sample, cost, name=image.name)
    return None
