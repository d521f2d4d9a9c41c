"""A Direct Electron sidecar → scan shape, calibration, metadata.

What the keys are called and mean is in `mrcdist.format.direct_electron.sidecar_keys`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mrcdist.errors import SidecarError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.format.direct_electron.sidecar import Sidecar, shorten, to_float
from mrcdist.format.direct_electron.sidecar_keys import IN_HYPERSPY, KEYS, Key

_REMEDY = "pass {navigation_shape}, or {metadata_file=None} to read the frames as a plain stack"

# Each along y and x.
_SCAN_SIZE = (keys.SCAN_SIZE_Y, keys.SCAN_SIZE_X)
_ROI_SIZE = (keys.ROI_SIZE_Y, keys.ROI_SIZE_X)
_IMAGE_SIZE = (keys.IMAGE_SIZE_Y, keys.IMAGE_SIZE_X)
_PIXEL = (keys.SPECIMEN_PIXEL_Y, keys.SPECIMEN_PIXEL_X)
_K_PIXEL = (keys.DIFFRACTION_PIXEL_Y, keys.DIFFRACTION_PIXEL_X)


@dataclass(frozen=True)
class Scan:
    """The order and the meaning of a movie's frames.

    ``"raster"``: the frames follow each other in the order of the navigation axes; ``"custom"``: a
    list of scan points says where each frame belongs; ``"movie"``: not a scan.
    """

    kind: Literal["raster", "custom", "movie"]
    # In array order, slowest first. Raster: (repeat, y, x, point_repeat); custom: (y, x); both with
    # their axes of size 1. Movie: (time,).
    navigation: tuple[Axis, ...]
    signal: tuple[Axis, Axis]  # rows and columns: (ky, kx), or (y, x) of a movie of images
    notes: tuple[str, ...] = ()  # what was odd, in words for the user

    @property
    def size(self) -> int:
        """Number of places for a frame: the product of the navigation sizes."""
        return math.prod(axis.size for axis in self.navigation)


def describe_scan(sidecar: Sidecar, *, n_frames: int, frame_shape: tuple[int, int]) -> Scan:
    """Describe what the frames are: their shape as a scan or movie, and the calibration.

    A movie, whose time axis has `n_frames`, where ``Scan - Enable`` is off or absent. A raster of
    shape (Repeats, Size Y, Size X, point repeats), where an enabled region of interest brings its
    own Size X and Y. A custom scan where the scan type is not Raster or where the raster leaves out
    points (subsampling). The sizes of a scan are the sidecar's alone: whoever calls compares
    `Scan.size` with `n_frames`. Frames have the rows and columns of the MRC header; the sidecar's
    image size is only compared with them. Scales: nm (y, x), nm^-1 (ky, kx), s (time, repeat,
    point_repeat); uncalibrated unless they are known and positive.

    `SidecarError` is raised if a size is missing, not a whole number or not positive; a switch says
    neither on nor off; or one frame holds several scan points.
    """
    notes = (*_frame_size_notes(sidecar, frame_shape), *_unreadable_notes(sidecar))
    if not _switched_on(sidecar, keys.SCAN_ENABLE):
        time = _axis("time", n_frames, _frame_time(sidecar), "s")
        return Scan("movie", (time,), _signal(sidecar, frame_shape, scan=False), notes)

    roi = _switched_on(sidecar, keys.ROI_ENABLE)
    grid = tuple(
        _axis(name, _count(sidecar, size), sidecar.positive(pixel), "nm")
        for name, size, pixel in zip("yx", _ROI_SIZE if roi else _SCAN_SIZE, _PIXEL, strict=True)
    )
    signal = _signal(sidecar, frame_shape, scan=True)
    points_per_frame = sidecar.number(keys.POINTS_PER_FRAME) or 1
    if points_per_frame > 1:
        raise SidecarError(
            f"{keys.POINTS_PER_FRAME} = {points_per_frame:g}: frames that span several scan points "
            "are not supported",
            code="scan-too-fast",
            cause="the scan was faster than the camera",
            remedy=_REMEDY,
        )
    if not _is_raster(sidecar, roi=roi):
        return Scan("custom", grid, signal, notes)

    repeats = _count(sidecar, keys.SCAN_REPEATS, default=1)
    point_repeats = _count(sidecar, keys.POINT_REPEATS, default=1)
    navigation = (
        _axis("repeat", repeats, _repeat_time(sidecar), "s"),
        *grid,
        _axis("point_repeat", point_repeats, _frame_time(sidecar), "s"),
    )
    return Scan("raster", navigation, signal, (*notes, *_repeat_notes(sidecar, repeats)))


def describe_signal(sidecar: Sidecar, *, frame_shape: tuple[int, int]) -> tuple[Axis, Axis]:
    """Return the axes of a frame alone; `SidecarError` if the switch says neither on nor off."""
    return _signal(sidecar, frame_shape, scan=_switched_on(sidecar, keys.SCAN_ENABLE))


def pixel_is_unsigned(sidecar: Sidecar) -> bool | None:
    """Return whether the bytes of an 8-bit movie (MRC mode 0) are unsigned.

    DE Server has a pixel format for counted and one for integrated movies, and
    ``Image Processing - Mode`` says which of the two was saved. Its format decides if it has 8
    bits. If it has more, the 8-bit movie cannot have been saved in it, and the other one decides.
    None where neither format has 8 bits.
    """
    eight_bits = {"uint8": True, "int8": False}
    formats = (keys.INTEGRATED_FORMAT, keys.COUNTED_FORMAT)
    signs = [eight_bits.get((sidecar.text(key) or "").lower()) for key in formats]
    if _is_counted(sidecar):
        signs.reverse()
    said = [sign for sign in signs if sign is not None]
    undecided = sidecar.text(keys.PROCESSING_MODE) is None and len(set(said)) > 1
    return None if undecided or not said else said[0]


def sidecar_metadata(sidecar: Sidecar) -> dict[str, dict[str, Any]]:
    """Return what HyperSpy has a place for, in its names and units; what is not known is absent.

    ``General``: date, time (ISO 8601) and time_zone (always UTC, for the machines that plan and
    read may be in different zones). ``Acquisition_instrument.TEM``: beam_energy (keV),
    camera_length (mm), magnification, acquisition_mode, dwell_time (s, scans only),
    frames_per_second, detector and Detector.Camera.name.
    ``Signal.Noise_properties.Variance_linear_model``: gain_factor, the ADUs per electron, which for
    Poisson noise is the ratio of variance to mean. Absent for counted movies, whose pixels are
    electrons, not ADUs.
    """
    camera = sidecar.text(keys.CAMERA_NAME, keys.CAMERA_MODEL)
    gain = None if _is_counted(sidecar) else sidecar.positive(keys.GAIN)
    numbers = {
        name: number * times / over
        for key, name, times, over in IN_HYPERSPY
        # The server keeps the last scan's dwell time in the sidecars of movies that are no scans.
        if (key is not keys.DWELL_TIME or sidecar.flag(keys.SCAN_ENABLE))
        and (number := sidecar.positive(key)) is not None
    }
    tem = {
        **numbers,
        "acquisition_mode": _acquisition_mode(sidecar),
        "detector": camera,
        "Detector": camera and {"Camera": {"name": camera}},
    }
    noise = gain and {"Variance_linear_model": {"gain_factor": gain}}
    sections = {
        "General": _timestamp(sidecar),
        "Acquisition_instrument": _known({"TEM": _known(tem)}),
        "Signal": _known({"Noise_properties": noise}),
    }
    return {name: section for name, section in sections.items() if section}


def _count(sidecar: Sidecar, key: Key, default: int | None = None) -> int:
    """Return the whole number above 0 that `key` has."""
    spelled = next((name for name in key.spellings if sidecar.text(name)), key.name)
    text = sidecar.text(spelled)
    if text is None:
        if default is not None:
            return default
        raise SidecarError(
            f"the sidecar describes a scan, but lacks {spelled}",
            code="sidecar-key-missing",
            cause="the sidecar was edited, or was copied before it was complete",
            remedy=_REMEDY,
        )
    whole = re.fullmatch(r"(\d{1,18})(?:\.0*)?", text, re.ASCII)
    if whole is None or int(whole[1]) == 0:
        raise SidecarError(
            f"{spelled} = {shorten(text)} in the sidecar is not a whole number above 0",
            code="sidecar-value-invalid",
            cause="the sidecar was edited or is damaged",
            remedy=_REMEDY,
        )
    return int(whole[1])


def _switched_on(sidecar: Sidecar, key: Key) -> bool:
    flag, text = sidecar.flag(key), sidecar.text(key)
    if flag is None and text is not None:
        raise SidecarError(
            f"{key} = {shorten(text)} in the sidecar is neither Enable nor Disable",
            code="sidecar-value-invalid",
            cause="the sidecar was edited, or written by a server that uses other words",
            remedy=_REMEDY,
        )
    return bool(flag)


def _is_raster(sidecar: Sidecar, *, roi: bool) -> bool:
    """Whether the order of the frames is the scan's, so that no list of points is needed.

    With a region of interest the server has a type for the region and one for the area around it.
    Which of the two rules is not written down, so the scan is a raster only if both say so.
    """
    orders = (keys.SCAN_TYPE, keys.ROI_TYPE) if roi else (keys.SCAN_TYPE,)
    types = {(sidecar.text(key) or "Raster").lower() for key in orders}
    # A raster that leaves out points has fewer frames than its grid has places.
    left_out = (keys.SCAN_SUBSAMPLING, keys.ROI_SUBSAMPLING) if roi else (keys.SCAN_SUBSAMPLING,)
    steps = {sidecar.number(key) or 1.0 for key in left_out}
    return types == {"raster"} and steps == {1.0}


def _axis(name: str, size: int, scale: float | None, units: str, *, navigate: bool = True) -> Axis:
    if scale is None or not math.isfinite(scale):  # of numbers that are finite, but absurd
        return Axis(name, size, navigate)
    return Axis(name, size, navigate, scale=scale, units=units)


def _signal(sidecar: Sidecar, frame_shape: tuple[int, int], *, scan: bool) -> tuple[Axis, Axis]:
    rows, columns = frame_shape
    diffracting = sidecar.positive(keys.CAMERA_LENGTH) or _acquisition_mode(sidecar) == "STEM"
    prefix, pixel, units = ("k", _K_PIXEL, "nm^-1") if scan or diffracting else ("", _PIXEL, "nm")
    along_y, along_x = (sidecar.positive(key) for key in pixel)
    return (
        _axis(f"{prefix}y", rows, along_y, units, navigate=False),
        _axis(f"{prefix}x", columns, along_x, units, navigate=False),
    )


def _frame_time(sidecar: Sidecar) -> float | None:
    """Seconds from one stored frame to the next, each a sum of camera frames."""
    rate = sidecar.positive(keys.FRAME_RATE)
    summed = sidecar.positive(keys.SUM_COUNT) if sidecar.values.get(keys.SUM_COUNT.name) else 1
    return None if rate is None or summed is None else summed / rate


def _repeat_time(sidecar: Sidecar) -> float | None:
    """Seconds from the start of one scan to that of its repeat."""
    duration = sidecar.positive(keys.SCAN_TIME)
    delay = sidecar.number(keys.REPEAT_DELAY) if sidecar.values.get(keys.REPEAT_DELAY.name) else 0.0
    return None if duration is None or delay is None or delay < 0 else duration + delay


def _repeat_notes(sidecar: Sidecar, repeats: int) -> list[str]:
    notes = []
    total, single = sidecar.positive(keys.SCAN_TIME), sidecar.positive(keys.TIME_PER_SCAN)
    if repeats > 1 and total and single and not math.isclose(total, single, rel_tol=1e-3):
        notes.append(
            f"the repeat axis is calibrated by {keys.SCAN_TIME} = {total:g}, though the sidecar"
            f" also says {keys.TIME_PER_SCAN} = {single:g}"
        )
    spelled = {
        key: sidecar.number(key) for key in keys.POINT_REPEATS.spellings if sidecar.number(key)
    }
    if len(set(spelled.values())) > 1:
        said = " and ".join(f"{key} = {value:g}" for key, value in spelled.items())
        notes.append(f"the sidecar says {said}: the first one is used")
    return notes


def _frame_size_notes(sidecar: Sidecar, frame_shape: tuple[int, int]) -> list[str]:
    said = [sidecar.positive(key) for key in _IMAGE_SIZE]
    if all(size in (None, actual) for size, actual in zip(said, frame_shape, strict=True)):
        return []
    rows, columns = ("?" if size is None else f"{size:g}" for size in said)
    return [
        f"the sidecar says that images have {rows} rows and {columns} columns, but the movie's"
        f" frames have {frame_shape[0]} rows and {frame_shape[1]} columns: the movie is right"
    ]


def _unreadable_notes(sidecar: Sidecar) -> list[str]:
    texts = {key: sidecar.text(key) for key in KEYS if key.calibrates}
    return [
        f"{key} = {shorten(text)} in the sidecar is not a number: left uncalibrated"
        for key, text in texts.items()
        if text is not None and to_float(text) is None
    ]


def _acquisition_mode(sidecar: Sidecar) -> str | None:
    return {0.0: "TEM", 1.0: "STEM", None: None}.get(sidecar.number(keys.TEM_OR_STEM))


def _is_counted(sidecar: Sidecar) -> bool:
    return "count" in (sidecar.text(keys.PROCESSING_MODE) or "").lower()


def _timestamp(sidecar: Sidecar) -> dict[str, str]:
    seconds = sidecar.positive(keys.TIMESTAMP)
    if seconds is None or seconds > 253402300799:  # the last second of the year 9999
        return {}
    date, time = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().split("T")
    return {"date": date, "time": time, "time_zone": "UTC"}


def _known(section: dict[str, Any]) -> dict[str, Any]:
    """Return the known values of a section: not None, 0 or infinite."""
    return {
        key: value
        for key, value in section.items()
        if value and not (isinstance(value, float) and math.isinf(value))
    }
