"""The scan or movie that a Direct Electron sidecar describes: shape, calibration, metadata.

`mrcdist.format.direct_electron.sidecar_keys` explains the keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mrcdist.errors import SidecarError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron import sidecar_keys as keys
from mrcdist.format.direct_electron.sidecar import Sidecar, to_float
from mrcdist.format.direct_electron.sidecar_keys import IN_HYPERSPY, KEYS, Key
from mrcdist.printable import shorten
from mrcdist.warning_notes import Note

_REMEDY = "pass `navigation_shape`, or `metadata_file=None` to read the frames as a plain stack"

# Each along y and x.
_SCAN_SIZE = (keys.SCAN_SIZE_Y, keys.SCAN_SIZE_X)
_ROI_SIZE = (keys.ROI_SIZE_Y, keys.ROI_SIZE_X)
_IMAGE_SIZE = (keys.IMAGE_SIZE_Y, keys.IMAGE_SIZE_X)
_PIXEL = (keys.SPECIMEN_PIXEL_Y, keys.SPECIMEN_PIXEL_X)
_K_PIXEL = (keys.DIFFRACTION_PIXEL_Y, keys.DIFFRACTION_PIXEL_X)

_YEAR_10000 = 253402300800  # seconds since Epoch


@dataclass(frozen=True)
class Scan:
    """Order and meaning of a movie's frames.

    ``"raster"``: the frames are in the order of the navigation axes; ``"custom"``: a list of scan
    points determines the place of each frame; ``"movie"``: not a scan.
    """

    kind: Literal["raster", "custom", "movie"]
    # In array order, slowest first, including axes of size 1. Raster: (repeat, y, x, point_repeat);
    # custom: (y, x); movie: (time,).
    navigation: tuple[Axis, ...]
    signal: tuple[Axis, Axis]  # rows and columns: (ky, kx), or (y, x) for a movie of images
    notes: tuple[Note, ...] = ()

    @property
    def size(self) -> int:
        """Number of positions of frames: the product of the navigation sizes."""
        return math.prod(axis.size for axis in self.navigation)


def describe_scan(sidecar: Sidecar, *, n_frames: int, frame_shape: tuple[int, int]) -> Scan:
    """Describe the frames: shape of the scan or movie, and calibration.

    A movie, whose time axis has `n_frames`, if ``Scan - Enable`` is off or absent. Otherwise a
    custom scan if the scan type is not Raster or points are left out (subsampling), else a raster
    of shape (Repeats, Size Y, Size X, point repeats). An enabled region of interest has its own
    Size X and Y. The size of a scan is that in the sidecar; the caller compares `Scan.size` with
    the number of frames. Frames have the rows and columns of the MRC header; a different image size
    in the sidecar is noted. Scales are in nm (y, x), nm^-1 (ky, kx) and s (time, repeat,
    point_repeat), if they are known and positive.

    `SidecarError` is raised if a size is missing or not a positive integer, if a switch is neither
    on nor off, or if frames span several scan points.
    """
    notes = (*_frame_size_notes(sidecar, frame_shape), *_unreadable_notes(sidecar))
    if not _is_enabled(sidecar, keys.SCAN_ENABLE):
        time = _axis("time", n_frames, _frame_time(sidecar), "s")
        return Scan("movie", (time,), describe_signal(sidecar, frame_shape=frame_shape), notes)

    roi = _is_enabled(sidecar, keys.ROI_ENABLE)
    grid = tuple(
        _axis(name, _count(sidecar, size), sidecar.positive(pixel), "nm")
        for name, size, pixel in zip("yx", _ROI_SIZE if roi else _SCAN_SIZE, _PIXEL, strict=True)
    )
    signal = describe_signal(sidecar, frame_shape=frame_shape)
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
    """Return the axes of a frame; `SidecarError` if ``Scan - Enable`` is neither on nor off."""
    diffraction = (
        _is_enabled(sidecar, keys.SCAN_ENABLE)
        or sidecar.positive(keys.CAMERA_LENGTH) is not None
        or _acquisition_mode(sidecar) == "STEM"
    )
    prefix, pixel, units = ("k", _K_PIXEL, "nm^-1") if diffraction else ("", _PIXEL, "nm")
    y, x = (
        _axis(prefix + name, size, sidecar.positive(key), units, navigate=False)
        for name, size, key in zip("yx", frame_shape, pixel, strict=True)
    )
    return y, x


def pixel_is_unsigned(sidecar: Sidecar) -> bool | None:
    """Return whether the bytes of an 8-bit movie (MRC mode 0) are unsigned, or None if unknown.

    DE Server has one pixel format for counted and one for integrated movies; ``Image Processing -
    Mode`` says which was saved. If its format does not have 8 bits, the 8-bit movie cannot have
    been saved in it, and the other format decides.
    """
    signs = [
        {"uint8": True, "int8": False}.get((sidecar.text(key) or "").lower())
        for key in (keys.INTEGRATED_FORMAT, keys.COUNTED_FORMAT)
    ]
    if _is_counted(sidecar):
        signs.reverse()
    known = [sign for sign in signs if sign is not None]
    ambiguous = sidecar.text(keys.PROCESSING_MODE) is None and len(set(known)) > 1
    return None if ambiguous or not known else known[0]


def sidecar_metadata(sidecar: Sidecar) -> dict[str, dict[str, Any]]:
    """Return the known metadata for which HyperSpy has names, in its units.

    ``General``: date, time (ISO 8601) and time_zone (always UTC, because the machines that plan and
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
        name: number * factor / divisor
        for key, name, factor, divisor in IN_HYPERSPY
        # In sidecars of movies that are not scans, the dwell time refers to the last scan.
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
    return _known(
        {
            "General": _timestamp(sidecar),
            "Acquisition_instrument": _known({"TEM": _known(tem)}),
            "Signal": _known({"Noise_properties": noise}),
        }
    )


def _count(sidecar: Sidecar, key: Key, default: int | None = None) -> int:
    """Return the value of `key`, a positive integer."""
    spelling = next((name for name in key.spellings if sidecar.text(name)), key.name)
    text = sidecar.text(spelling)
    if text is None:
        if default is not None:
            return default
        raise SidecarError(
            f"the sidecar describes a scan, but lacks {spelling}",
            code="sidecar-key-missing",
            cause="the sidecar was edited, or was copied before it was complete",
            remedy=_REMEDY,
        )
    whole = re.fullmatch(r"(\d{1,18})(?:\.0*)?", text, re.ASCII)
    if whole is None or int(whole[1]) == 0:
        raise SidecarError(
            f"{spelling} = {shorten(text)} in the sidecar is not a whole number above 0",
            code="sidecar-value-invalid",
            cause="the sidecar was edited or is damaged",
            remedy=_REMEDY,
        )
    return int(whole[1])


def _is_enabled(sidecar: Sidecar, key: Key) -> bool:
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
    """Whether the frames are in raster order, so that no list of points is needed.

    With a region of interest, the server has a type and a subsampling for the region and one for
    the area around it. It is not documented which of them applies, so both must be a raster, and
    neither may leave out points.
    """
    types = (keys.SCAN_TYPE, keys.ROI_TYPE) if roi else (keys.SCAN_TYPE,)
    steps = (keys.SCAN_SUBSAMPLING, keys.ROI_SUBSAMPLING) if roi else (keys.SCAN_SUBSAMPLING,)
    return all((sidecar.text(key) or "Raster").lower() == "raster" for key in types) and all(
        (sidecar.number(key) or 1) == 1 for key in steps
    )


def _axis(name: str, size: int, scale: float | None, units: str, *, navigate: bool = True) -> Axis:
    if scale is None or not math.isfinite(scale):  # the quotient of extreme numbers may overflow
        return Axis(name, size, navigate)
    return Axis(name, size, navigate, scale=scale, units=units)


def _frame_time(sidecar: Sidecar) -> float | None:
    """Return the time in s between stored frames, each of which is a sum of camera frames."""
    rate = sidecar.positive(keys.FRAME_RATE)
    summed = sidecar.positive(keys.SUM_COUNT) if sidecar.values.get(keys.SUM_COUNT.name) else 1
    return None if rate is None or summed is None else summed / rate


def _repeat_time(sidecar: Sidecar) -> float | None:
    """Return the time in s from the start of one scan to the start of its repeat."""
    duration = sidecar.positive(keys.SCAN_TIME)
    delay = sidecar.number(keys.REPEAT_DELAY) if sidecar.values.get(keys.REPEAT_DELAY.name) else 0.0
    return None if duration is None or delay is None or delay < 0 else duration + delay


def _repeat_notes(sidecar: Sidecar, repeats: int) -> Iterator[Note]:
    total, single = sidecar.positive(keys.SCAN_TIME), sidecar.positive(keys.TIME_PER_SCAN)
    if repeats > 1 and total and single and not math.isclose(total, single, rel_tol=1e-3):
        text = (
            f"the repeat axis is calibrated with {keys.SCAN_TIME} = {total:g}, but the sidecar also"
            f" contains {keys.TIME_PER_SCAN} = {single:g}"
        )
        yield Note("repeat-time-ambiguous", text)
    numbers = {name: sidecar.number(name) for name in keys.POINT_REPEATS.spellings}
    known = {name: number for name, number in numbers.items() if number}
    if len(set(known.values())) > 1:
        values = " and ".join(f"{name} = {number:g}" for name, number in known.items())
        yield Note(
            "point-repeats-ambiguous", f"the sidecar contains {values}: the first one is used"
        )


def _frame_size_notes(sidecar: Sidecar, frame_shape: tuple[int, int]) -> Iterator[Note]:
    stated = [sidecar.positive(key) for key in _IMAGE_SIZE]
    if all(size in (None, actual) for size, actual in zip(stated, frame_shape, strict=True)):
        return
    rows, columns = ("?" if size is None else f"{size:g}" for size in stated)
    text = (
        f"the sidecar says that images have {rows} rows and {columns} columns, but the movie's"
        f" frames have {frame_shape[0]} rows and {frame_shape[1]} columns, which are used"
    )
    yield Note("frame-size-differs", text)


def _unreadable_notes(sidecar: Sidecar) -> Iterator[Note]:
    texts = {key: sidecar.text(key) for key in KEYS if key.if_not_a_number}
    for key, text in texts.items():
        if text is not None and to_float(text) is None:
            problem = f"{key} = {shorten(text)} in the sidecar is not a number"
            yield Note("sidecar-value-unreadable", f"{problem}: {key.if_not_a_number}")


def _acquisition_mode(sidecar: Sidecar) -> str | None:
    return {0.0: "TEM", 1.0: "STEM", None: None}.get(sidecar.number(keys.TEM_OR_STEM))


def _is_counted(sidecar: Sidecar) -> bool:
    return "count" in (sidecar.text(keys.PROCESSING_MODE) or "").lower()


def _timestamp(sidecar: Sidecar) -> dict[str, str]:
    seconds = sidecar.positive(keys.TIMESTAMP)
    if seconds is None or seconds > _YEAR_10000 - 1:
        return {}
    date, time = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().split("T")
    return {"date": date, "time": time, "time_zone": "UTC"}


def _known(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the entries that are not None, empty, 0 or infinite."""
    return {key: value for key, value in entries.items() if value and value != math.inf}
