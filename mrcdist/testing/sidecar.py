"""Content of a Direct Electron sidecar, `…_info.txt`.

Keys, their spelling by server version and the column of the equals sign are those of real files.
Values that describe the scan and the frames are exact, others are plausible. -1 means "unknown", as
in real files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Literal

from mrcdist.format.direct_electron import sidecar_keys as keys

__all__ = [
    "Server",
    "frame_values",
    "image_values",
    "ordered",
    "scan_values",
    "server_values",
]

Server = Literal["2.7", "new"]
Values = dict[str | keys.Key, object]

_FOLDER = "D:\\Data\\"  # the server runs on Windows; these paths must never be used
_DWELL = 500e-6  # seconds per frame
_FLYBACK = 10e-6
_FIRST_KEYS = (keys.SERVER_VERSION.name, keys.TIMESTAMP.name, keys.LOCAL_TIME.name)
# Keys with the same value in every acquisition.
_CONSTANT: Values = {
    **{key: key.example for key in keys.KEYS if key.example is not None},
    keys.AUTOSAVE_DIRECTORY: _FOLDER,
    keys.FRAME_TIME: round(_DWELL * 1e9),
    keys.FRAME_RATE: f"{1 / _DWELL:g}",
    keys.PRESET_PROPERTIES: f"Readout - Shutter:Rolling,{keys.FRAME_RATE}:{1 / _DWELL:g}",
    keys.DWELL_TIME: f"{_DWELL * 1e6:g}",
    keys.FLYBACK_NEGATIVE: f"{_FLYBACK * 1e6:g}",
    keys.FLYBACK_POSITIVE: f"{_FLYBACK * 1e6:g}",
}


def ordered(*values: Values) -> dict[str, str]:
    """Return all keys and values: server and time first, then sorted by name, as in real files."""
    texts = {str(key): str(value) for key, value in chain(*map(dict.items, (_CONSTANT, *values)))}
    return {**{key: texts[key] for key in _FIRST_KEYS}, **dict(sorted(texts.items()))}


def server_values(name: str, server: Server, *, finished: bool) -> Values:
    """Return the keys of the server and the acquisition."""
    stem = [*name.split("_"), ""]
    values: Values = {
        keys.ACQUISITION_COUNTER: int(stem[1]) + 1 if stem[1].isdecimal() else 1,
        keys.DATASET_NAME: name,
        keys.AUTOSAVE_SUFFIX: "_".join(stem[2:-1]),
    }
    if server == "2.7":
        return values | {
            keys.SERVER_VERSION: "2.7.2.9048",
            keys.AUTOSAVE_STATUS: "In Progress",
            keys.GAIN: 300,
        }
    return values | {
        keys.SERVER_VERSION: "2.7.5.10756",
        keys.ACQUISITION_STATUS: "Finished" if finished else "Stopped",
        keys.GAIN.spelled("2.7.5"): 51,
    }


def frame_values(
    movie: str, frame_shape: tuple[int, int], dtype: str, frames: int, planned: int, per_file: int
) -> Values:
    """Return the keys of the movie, its frames and the camera."""
    ky, kx = frame_shape
    counted = dtype in ("uint8", "int8")
    return {
        keys.MOVIE_PATH: _FOLDER + movie,
        keys.MOVIE_FRAMES_WRITTEN: frames,
        keys.IMAGES_PER_FILE: per_file if per_file < planned else -1,
        keys.COUNTED_FORMAT: dtype if counted else "uint8",
        keys.INTEGRATED_FORMAT: "uint16" if counted else dtype,
        keys.PROCESSING_MODE: "Counting" if counted else "Integrating",
        keys.CROP_SIZE_X: kx,
        keys.CROP_SIZE_Y: ky,
        keys.HARDWARE_ROI_SIZE_X: kx,
        keys.HARDWARE_ROI_SIZE_Y: ky,
        keys.IMAGE_SIZE_X: kx,
        keys.IMAGE_SIZE_Y: ky,
        keys.EXPOSURE_TIME: f"{planned * _DWELL:.6f}",
        keys.FRAME_COUNT: frames,
        keys.FRAMES_REQUESTED: planned,
    }


def scan_values(
    points_file: str | None,
    scan_shape: tuple[int, int],
    roi: tuple[int, int] | None,
    repeats: tuple[int, int],
    planned: int,
    server: Server,
    *,
    scan: bool,
) -> Values:
    """Return the keys of the scan; repeats are those of the scan and of each point."""
    (y, x), (roi_y, roi_x) = scan_shape, roi or scan_shape
    points = planned // (repeats[0] * repeats[1])
    once = points * repeats[1] * _DWELL + roi_y * _FLYBACK
    return {
        keys.SCAN_ENABLE: _switch(scan),
        keys.SCAN_TYPE: "XY File" if points_file else "Raster",
        keys.POINTS_FILE: _FOLDER + points_file if points_file else "",
        keys.SCAN_SIZE_X: x,
        keys.SCAN_SIZE_Y: y,
        keys.ROI_ENABLE: _switch(roi),
        keys.ROI_OFFSET_X: (x - roi_x) // 2,
        keys.ROI_OFFSET_Y: (y - roi_y) // 2,
        keys.ROI_SIZE_X: roi_x,
        keys.ROI_SIZE_Y: roi_y,
        keys.SCAN_REPEATS: repeats[0],
        keys.POINT_REPEATS.spelled("2.7.2" if server == "2.7" else "2.7.5"): repeats[1],
        keys.SCAN_POINTS: points,
        keys.SCAN_TIME: f"{once:.6f}",
    }


def image_values(virtual: Mapping[str, str], external: Mapping[str, str]) -> Values:
    """Return the keys of all detectors; `virtual` and `external` map names of images to files."""
    values: Values = {}
    for number, name, file in _detectors(virtual, range(5)):
        values[keys.VIRTUAL_IMAGE.numbered(number)] = "Save" if file else "Discard"
        values[keys.VIRTUAL_IMAGE_PATH.numbered(number)] = file
        values[keys.VIRTUAL_IMAGE_WRITTEN.numbered(number)] = int(bool(file))
        values[keys.VIRTUAL_CALCULATION.numbered(number)] = "Sum"
        values[keys.VIRTUAL_NAME.numbered(number)] = name if file else f"Virt #{number}"
        values[keys.VIRTUAL_SHAPE.numbered(number)] = "Ellipse" if file else "Off"
    for number, name, file in _detectors(external, range(1, 5)):
        values[keys.EXTERNAL_IMAGE.numbered(number)] = "Save" if file else "Discard"
        values[keys.EXTERNAL_IMAGE_PATH.numbered(number)] = file
        values[keys.EXTERNAL_IMAGE_WRITTEN.numbered(number)] = int(bool(file))
        values[keys.EXTERNAL_ENABLE.numbered(number)] = _switch(file)
        values[keys.EXTERNAL_NAME.numbered(number)] = name if file else f"Ext #{number}"
    return values


def _detectors(images: Mapping[str, str], numbers: range) -> Iterator[tuple[int, str, str]]:
    """Yield the number of each detector with name and path of its image, or two empty texts."""
    saved = chain(((name, _FOLDER + file) for name, file in images.items()), repeat(("", "")))
    for number, (name, path) in zip(numbers, saved, strict=False):
        yield number, name, path


def _switch(on: object) -> str:
    return "Enable" if on else "Disable"
