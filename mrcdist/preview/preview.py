"""`Preview`: what a preview will read and what that costs, then the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from mrcdist.discover.files import FoundFiles
from mrcdist.discover.images import find_images
from mrcdist.errors import MrcdistError
from mrcdist.formatting import format_count
from mrcdist.options import ReadOptions
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.planner import make_plan
from mrcdist.preview.choose_sample import choose_sample
from mrcdist.preview.figure import preview_figure, summary_lines
from mrcdist.preview.panels import Panel, image_panels, scan_panels, volume_panels
from mrcdist.preview.reading import cost_of, read_pieces
from mrcdist.preview.sample import (
    DEFAULT_BUDGET,
    ImagesSample,
    PreviewBudget,
    Sample,
    ScanSample,
    View,
    ViewKind,
    VolumeSample,
    choose_view,
    require_budget,
)
from mrcdist.progress import Progress
from mrcdist.read_plan import Plan


@dataclass(frozen=True)
class Preview:
    """Plan of a preview: what is read of a file, at which cost in all, and what is left out.

    The `image` of a scan takes the place of a virtual one. It is the preview of another file, which
    has a `name` among those beside the scan.
    """

    plan: Plan
    view: View
    sample: Sample
    cost: Cost
    notes: tuple[str, ...] = ()
    image: Preview | None = None
    name: str = ""

    @property
    def pieces(self) -> int:
        """Stretches of files that will be read."""
        return len(self.sample.pieces) + (self.image.pieces if self.image else 0)

    def describe_cost(self, cost: Cost) -> str:
        """Describe what reading takes, or took: bytes, requests, and the share of all pixels."""
        nbytes, whole = cost.nbytes, self.plan.layout.nbytes
        exactly = f" ({nbytes:,} bytes)" if nbytes >= 1024 else ""
        share = f", {100 * nbytes / whole:.2g}\u00a0% of the pixels" if nbytes < whole else ""
        how = (
            format_count(cost.requests, "request")
            if cost.requests
            else f"{format_count(self.pieces, 'piece')}, mapped from disk"
        )
        return f"{format_bytes(nbytes)}{exactly} in {how}{share}"

    def panels(self) -> tuple[Panel, ...]:
        """Read, on threads of this process, and make the images."""
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
        """Draw the images and what the header says, as a figure of matplotlib's."""
        lines = [
            *summary_lines(self.plan),
            ("read", self.describe_cost(self.cost)),
            *(("note", note) for note in (*self.notes, *self.plan.notes)),
        ]
        planes = isinstance(self.sample, VolumeSample)
        return preview_figure(panels, title=self.plan.location.name, lines=lines, planes=planes)


def plan_preview(
    plan: Plan, *, budget: int = DEFAULT_BUDGET, view: ViewKind | None = None
) -> Preview:
    """Decide what to read for a picture of a file, within a budget in bytes; no pixel is read.

    The view is chosen by its axes and space group, unless the caller does.

    Raises
    ------
    ArgumentError
        The budget is too small, the file is empty, or the view does not suit its axes.
    """
    require_budget(budget)
    found = choose_view(plan.layout, plan.axes, ispg=plan.header.ispg, view=view)
    image, notes = _find_image(plan, found, budget)
    beside = image.cost if image is not None else Cost(0, 0)
    # A section of MRCZ may be larger compressed than not; by no more than its headers.
    sample = choose_sample(
        plan.layout,
        found,
        _limits(plan, budget - beside.nbytes),
        table=plan.source.table,
        virtual_image=image is None,
    )
    if found.kind != "images":
        if isinstance(sample, ImagesSample):
            beyond = f"what lies beyond {format_bytes(budget)} is not looked at"
            notes.append(f"it is one compressed stream: {beyond}")
        navigation = [axis for axis in plan.axes if axis.navigate]
        notes += [
            f"of the axis {axis.name} the first of {axis.size} is shown"
            for i, axis in enumerate(navigation)
            if i not in found.plane
        ]
    own = cost_of(plan.source, sample.pieces)
    cost = Cost(own.requests + beside.requests, own.nbytes + beside.nbytes)
    return Preview(plan, found, sample, cost, tuple(notes), image)


def _limits(plan: Plan, budget: int) -> PreviewBudget:
    part = plan.source.parts[0]
    return PreviewBudget(
        budget, whole=part.sections is not None, stream=part.compression is not None
    )


def _find_image(plan: Plan, view: View, budget: int) -> tuple[Preview | None, list[str]]:
    """The first image beside a movie that has a pixel for each of its scan points; and notes."""
    if view.kind != "scan":
        return None, []
    shape = tuple(plan.layout.navigation_shape[axis] for axis in view.plane)
    notes = []
    for image in find_images(plan.directory, plan.sidecar, "auto", "auto"):
        try:
            own = make_plan(FoundFiles.of(image.location), ReadOptions(metadata_file=None))
            if own.layout.frame_shape != shape or own.layout.nbytes == 0:
                continue
            still = View("images", ())
            sample = choose_sample(own.layout, still, _limits(own, budget // 4), max_images=1)
        except MrcdistError as error:
            # The server may still be writing it; the movie's own data are none the worse.
            notes.append(f"the image {image.location.name} is left out: {error.problem}")
        else:
            cost = cost_of(own.source, sample.pieces)
            return Preview(own, still, sample, cost, name=image.name), notes
    return None, notes
