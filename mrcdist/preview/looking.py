"""`Look`: what a preview will read and what that costs, then the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes

from mrcdist.dataset import Plan, make_plan
from mrcdist.discover.files import FoundFiles
from mrcdist.discover.images import find_images
from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.options import ReadOptions
from mrcdist.preview.choices import Choice, ImagesChoice, Limits, ScanChoice, VolumeChoice
from mrcdist.preview.choose import choose
from mrcdist.preview.figure import preview_figure
from mrcdist.preview.panels import Panel, image_panels, scan_panels, volume_panels
from mrcdist.preview.reading import Cost, cost_of, in_file_order, read_pieces
from mrcdist.preview.summary import summary_lines
from mrcdist.preview.views import Content, View, content_of
from mrcdist.progress import Progress

__all__ = ["DEFAULT_BUDGET", "Look", "look_at"]

DEFAULT_BUDGET = 64 * 2**20


@dataclass(frozen=True)
class _Beside:
    """The image of a scan that takes the place of a virtual one."""

    name: str
    plan: Plan
    choice: ImagesChoice


@dataclass(frozen=True)
class Look:
    """What is to be read of a file, and then shown.

    Attributes
    ----------
    plan : Plan
    content : Content
    choice : Choice
    cost : Cost
        What `panels` will read.
    notes : tuple of str
        What the picture leaves out.
    """

    plan: Plan
    content: Content
    choice: Choice
    cost: Cost
    notes: tuple[str, ...]
    _beside: _Beside | None = None

    def announcement(self) -> str:
        """Say how much will be read, in words."""
        return cost_words(self.cost, self.pieces, whole=self.plan.layout.nbytes)

    @property
    def pieces(self) -> int:
        """Stretches of files that will be read."""
        return len(self.choice.pieces) + (len(self._beside.choice.pieces) if self._beside else 0)

    def panels(self) -> tuple[Panel, ...]:
        """Read, on threads of this process, and make the images.

        Raises
        ------
        MrcdistError
            The file changed, or cannot be read.
        """
        with Progress("reading", self.pieces) as progress:
            image = None
            if self._beside is not None:
                image = _read_image(self._beside, self.plan, self.content, progress)
            taken = read_pieces(in_file_order(self.plan.source), self.choice.pieces, progress)
        axes = self.plan.axes
        if isinstance(self.choice, ScanChoice):
            return scan_panels(self.choice, taken, axes, self.content.plane, image)
        if isinstance(self.choice, VolumeChoice):
            return volume_panels(self.choice, taken, axes[-3:])
        assert isinstance(self.choice, ImagesChoice)  # noqa: S101 there are no others
        return image_panels(self.choice, taken, axes, reciprocal=self.content.reciprocal)

    def figure(self, panels: tuple[Panel, ...]) -> Any:
        """Draw the images and what the header says, as a figure of matplotlib's."""
        whole = self.plan.layout.nbytes
        lines = [
            *summary_lines(self.plan),
            ("read", cost_words(self.cost, self.pieces, whole=whole)),
            *(("note", note) for note in (*self.notes, *self.plan.notes)),
        ]
        planes = isinstance(self.choice, VolumeChoice)
        name = self.plan.location.name
        return preview_figure(panels, title=name, lines=lines, planes=planes)


def look_at(plan: Plan, *, budget: int = DEFAULT_BUDGET, view: View | None = None) -> Look:
    """Decide what to read for a picture of a file; no pixel is read.

    Parameters
    ----------
    plan : Plan
    budget : int, default 64 MiB
        Bytes of pixels to read at most.
    view : {"scan", "volume", "images"}, optional
        How to look at it. Default: by its axes and space group.

    Returns
    -------
    Look

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
    content = content_of(plan.layout, plan.axes, ispg=plan.header.ispg, view=view)
    beside, notes = _find_image(plan, content, budget)
    cost = Cost()
    if beside is not None:
        cost += cost_of(in_file_order(beside.plan.source), beside.choice.pieces)
    # A section of MRCZ may be larger compressed than not; by no more than its headers.
    choice = choose(
        plan.layout,
        content,
        _limits(plan, budget - cost.nbytes),
        table=plan.source.table,
        virtual_image=beside is None,
    )
    if content.view != "images" and isinstance(choice, ImagesChoice):
        notes.append(
            f"it is one compressed stream: what lies beyond {format_bytes(budget)} is not looked at"
        )
    notes += _left_out(plan, content)
    cost += cost_of(in_file_order(plan.source), choice.pieces)
    return Look(plan, content, choice, cost, tuple(notes), beside)


def cost_words(cost: Cost, pieces: int, *, whole: int) -> str:
    """Say what reading takes: bytes, requests, and the share of all pixels."""
    exactly = f" ({cost.nbytes:,} bytes)" if cost.nbytes >= 1024 else ""
    share = f", {100 * cost.nbytes / whole:.2g}\u00a0% of the pixels" if cost.nbytes < whole else ""
    how = (
        f"{cost.requests:,} request{'s' * (cost.requests != 1)}"
        if cost.requests
        else f"{pieces:,} piece{'s' * (pieces != 1)}, mapped from disk"
    )
    return f"{format_bytes(cost.nbytes)}{exactly} in {how}{share}"


def _limits(plan: Plan, budget: int) -> Limits:
    part = plan.source.parts[0]
    return Limits(budget, whole=part.sections is not None, stream=part.compression is not None)


def _find_image(plan: Plan, content: Content, budget: int) -> tuple[_Beside | None, list[str]]:
    """The first image beside a movie that has a pixel for each of its scan points."""
    if content.view != "scan":
        return None, []
    shape = tuple(plan.layout.navigation_shape[axis] for axis in content.plane)
    notes = []
    for image in find_images(plan.directory, plan.sidecar, "auto", "auto"):
        try:
            own = make_plan(FoundFiles.of(image.location), ReadOptions(metadata_file=None))
            if own.layout.frame_shape != shape or own.layout.nbytes == 0:
                continue
            still = Content("images", (), reciprocal=False)
            choice = choose(own.layout, still, _limits(own, budget // 4), most_images=1)
        except MrcdistError as error:
            # The server may still be writing it; the movie's own data are none the worse.
            notes.append(f"the image {image.location.name} is left out: {error.problem}")
        else:
            assert isinstance(choice, ImagesChoice)  # noqa: S101 it was asked for
            return _Beside(image.name, own, choice), notes
    return None, notes


def _read_image(beside: _Beside, plan: Plan, content: Content, progress: Progress) -> Panel:
    taken = read_pieces(in_file_order(beside.plan.source), beside.choice.pieces, progress)
    [panel] = image_panels(beside.choice, taken, beside.plan.axes, reciprocal=False)[:1]
    y, x = (plan.axes[axis] for axis in content.plane)
    title = f"{beside.name}, from {beside.plan.location.name}"
    return Panel("image", title, panel.image, y, x)


def _left_out(plan: Plan, content: Content) -> list[str]:
    """Navigation axes of which only the first point is shown."""
    navigation = [axis for axis in plan.axes if axis.navigate]
    if content.view == "images":
        return []
    others = [axis for i, axis in enumerate(navigation) if i not in content.plane]
    return [f"of the axis {axis.name} the first of {axis.size} is shown" for axis in others]
