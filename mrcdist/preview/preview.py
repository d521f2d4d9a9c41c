"""`Preview`: what a preview will read and what that costs, then the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from mrcdist.discover.files import FoundFiles
from mrcdist.discover.images import find_images
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.formatting import format_count
from mrcdist.options import ReadOptions
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.planner import make_plan
from mrcdist.preview.choose_sample import choose_sample
from mrcdist.preview.figure import preview_figure
from mrcdist.preview.panels import Panel, image_panels, scan_panels, volume_panels
from mrcdist.preview.reading import cost_of, in_file_order, read_pieces
from mrcdist.preview.sample import (
    DEFAULT_BUDGET,
    ImagesSample,
    PreviewBudget,
    Sample,
    ScanSample,
    VolumeSample,
)
from mrcdist.preview.summary import summary_lines
from mrcdist.preview.view import View, ViewKind, choose_view
from mrcdist.progress import Progress
from mrcdist.read_plan import Plan

__all__ = ["Preview", "plan_preview"]


@dataclass(frozen=True)
class _ScanImage:
    """The image of a scan that takes the place of a virtual one."""

    name: str
    plan: Plan
    sample: ImagesSample


@dataclass(frozen=True)
class Preview:
    """Plan of a preview: what is read of a file, and then shown.

    Attributes
    ----------
    plan : Plan
    view : View
    sample : Sample
    cost : Cost
        What `panels` will read.
    notes : tuple of str
        What the picture leaves out.
    """

    plan: Plan
    view: View
    sample: Sample
    cost: Cost
    notes: tuple[str, ...]
    _image: _ScanImage | None = None

    @property
    def pieces(self) -> int:
        """Stretches of files that will be read."""
        return len(self.sample.pieces) + (len(self._image.sample.pieces) if self._image else 0)

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
        """Read, on threads of this process, and make the images.

        Raises
        ------
        MrcdistError
            The file changed, or cannot be read.
        """
        axes = self.plan.axes
        with Progress("reading", self.pieces) as progress:
            image = None
            if self._image is not None:
                image = _read_image(self._image, self.plan, self.view, progress)
            pixels = read_pieces(in_file_order(self.plan.source), self.sample.pieces, progress)
        if isinstance(self.sample, ScanSample):
            return scan_panels(self.sample, pixels, axes, self.view.plane, image)
        if isinstance(self.sample, VolumeSample):
            return volume_panels(self.sample, pixels, axes[-3:])
        assert isinstance(self.sample, ImagesSample)  # noqa: S101 there are no others
        return image_panels(self.sample, pixels, axes)

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
    """Decide what to read for a picture of a file; no pixel is read.

    Parameters
    ----------
    plan : Plan
    budget : int, default 64 MiB
        Bytes of pixels to read at most.
    view : {"scan", "volume", "images"}, optional
        How to look at it. Default: by its axes and space group.

    Raises
    ------
    ArgumentError
        The budget is too small, the file is empty, or the view does not suit its axes.
    """
    if budget < 1:
        raise ArgumentError(
            f"budget={budget}",
            code="budget-invalid",
            argument="budget",
            remedy="give a number of bytes, such as 64 MiB",
        )
    found = choose_view(plan.layout, plan.axes, ispg=plan.header.ispg, view=view)
    image, notes = _find_image(plan, found, budget)
    beside = Cost(0, 0)
    if image is not None:
        beside = cost_of(in_file_order(image.plan.source), image.sample.pieces)
    # A section of MRCZ may be larger compressed than not; by no more than its headers.
    sample = choose_sample(
        plan.layout,
        found,
        _limits(plan, budget - beside.nbytes),
        table=plan.source.table,
        virtual_image=image is None,
    )
    if found.kind != "images" and isinstance(sample, ImagesSample):
        notes.append(
            f"it is one compressed stream: what lies beyond {format_bytes(budget)} is not looked at"
        )
    if found.kind != "images":
        navigation = [axis for axis in plan.axes if axis.navigate]
        notes += [
            f"of the axis {axis.name} the first of {axis.size} is shown"
            for i, axis in enumerate(navigation)
            if i not in found.plane
        ]
    own = cost_of(in_file_order(plan.source), sample.pieces)
    cost = Cost(own.requests + beside.requests, own.nbytes + beside.nbytes)
    return Preview(plan, found, sample, cost, tuple(notes), image)


def _limits(plan: Plan, budget: int) -> PreviewBudget:
    part = plan.source.parts[0]
    return PreviewBudget(
        budget, whole=part.sections is not None, stream=part.compression is not None
    )


def _find_image(plan: Plan, view: View, budget: int) -> tuple[_ScanImage | None, list[str]]:
    """The first image beside a movie that has a pixel for each of its scan points."""
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
            assert isinstance(sample, ImagesSample)  # noqa: S101 it was asked for
            return _ScanImage(image.name, own, sample), notes
    return None, notes


def _read_image(image: _ScanImage, plan: Plan, view: View, progress: Progress) -> Panel:
    pixels = read_pieces(in_file_order(image.plan.source), image.sample.pieces, progress)
    [panel] = image_panels(image.sample, pixels, image.plan.axes)[:1]
    y, x = (plan.axes[axis] for axis in view.plane)
    return Panel("image", f"{image.name}, from {image.plan.location.name}", panel.image, y, x)
