"""Content of a Direct Electron sidecar, `…_info.txt`.

Keys, their spelling by server version and the column of the equals sign are those of real files.
Values that describe the scan and the frames are exact, others are plausible. -1 means "unknown", as
in real files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mrcdist.format.direct_electron import sidecar_keys as keys

__all__ = ["Server", "Setup", "sidecar_values"]

Server = Literal["2.7", "new"]

_FIRST_KEYS = (keys.SERVER_VERSION.name, keys.TIMESTAMP.name, keys.LOCAL_TIME.name)
_VERSIONS = {"2.7": "2.7.2", "new": "2.7.5"}  # of the server, for each spelling
_FOLDER = "D:\\Data\\"  # the server runs on Windows; these paths must never be used
_DWELL = 500e-6  # seconds per frame
_FLYBACK = 10e-6


@dataclass(frozen=True)
class Setup:
    """Parameters of an acquisition that are recorded in the sidecar.

    Shapes are in array order, slowest first.
    """

    name: str
    scan: bool
    custom: bool
    scan_shape: tuple[int, int]
    roi: tuple[int, int] | None
    repeats: int
    point_repeats: int
    frame_shape: tuple[int, int]
    dtype: str
    frames: int
    planned: int
    frames_per_file: int
    movie: str
    virtual: Mapping[str, str]
    external: Mapping[str, str]
    server: Server


def sidecar_values(setup: Setup) -> dict[str, str]:
    """Return all keys and values of the sidecar of an acquisition.

    Parameters
    ----------
    setup : Setup
        Parameters of the acquisition.

    Returns
    -------
    dict of str to str
        Server and time first, then sorted by name, as in real files.
    """
    values = {
        **_server(setup),
        **_autosave(setup),
        **_camera(setup),
        **_instrument(),
        **_scan(setup),
        **_detectors(setup),
    }
    first = {key: values.pop(key) for key in _FIRST_KEYS}
    return {key: str(value) for key, value in {**first, **dict(sorted(values.items()))}.items()}


def _switch(on: object, names: tuple[str, str] = ("Disable", "Enable")) -> str:
    return names[bool(on)]


def _server(setup: Setup) -> dict[str, object]:
    acquisition = [*setup.name.split("_"), ""][1]
    common = {
        keys.TIMESTAMP.name: 1767225600,
        keys.LOCAL_TIME.name: "Thu Jan  1 00:00:00 2026",
        keys.ACQUISITION_COUNTER.name: int(acquisition) + 1 if acquisition.isdecimal() else 1,
        keys.DATASET_NAME.name: setup.name,
        keys.TOTAL_ACQUISITIONS.name: 1,
        keys.REMAINING_ACQUISITIONS.name: 0,
        keys.SYSTEM_STATUS.name: "Saving frames...",
        keys.SERVER_PORT.name: 13240,
        keys.COMPUTER_NAME.name: "DE-Simulator",
    }
    if setup.server == "2.7":
        status = {keys.AUTOSAVE_STATUS.name: "In Progress", keys.GAIN.name: 300}
        return {keys.SERVER_VERSION.name: "2.7.2.9048", **status, **common}
    status = {
        keys.ACQUISITION_STATUS.name: "Finished" if setup.frames == setup.planned else "Stopped",
        keys.GAIN.spelled("2.7.5"): 51,
    }
    return {keys.SERVER_VERSION.name: "2.7.5.10756", **status, **common}


def _autosave(setup: Setup) -> dict[str, object]:
    split = setup.frames_per_file < setup.planned
    values: dict[str, object] = {
        keys.AUTOSAVE_DIRECTORY.name: _FOLDER,
        keys.AUTOSAVE_FORMAT.name: "MRC",
        keys.AUTOSAVE_SUFFIX.name: "_".join(setup.name.split("_")[2:]),
        keys.FINAL_IMAGE.name: "Discard",
        keys.FINAL_IMAGE_PATH.name: "",
        keys.FINAL_FRAMES_WRITTEN.name: 0,
        keys.IMAGES_PER_FILE.name: setup.frames_per_file if split else -1,
        keys.MOVIE.name: "Save",
        keys.MOVIE_FORMAT.name: "MRC",
        keys.MOVIE_PATH.name: _FOLDER + setup.movie,
        keys.MOVIE_FRAMES_WRITTEN.name: setup.frames,
        keys.SUM_COUNT.name: 1,
        keys.COUNTED_FORMAT.name: "uint8",
        keys.INTEGRATED_FORMAT.name: "uint16",
        keys.IMAGES_FORMAT.name: "MRC",
    }
    made = keys.COUNTED_FORMAT if _counting(setup.dtype) else keys.INTEGRATED_FORMAT
    values[made.name] = setup.dtype
    virtual = (keys.VIRTUAL_IMAGE, keys.VIRTUAL_IMAGE_PATH, keys.VIRTUAL_IMAGE_WRITTEN)
    external = (keys.EXTERNAL_IMAGE, keys.EXTERNAL_IMAGE_PATH, keys.EXTERNAL_IMAGE_WRITTEN)
    kinds = ((virtual, setup.virtual, range(5)), (external, setup.external, range(1, 5)))
    for (image, path, written), files, numbers in kinds:
        paths = [_FOLDER + file for file in files.values()]
        for number, slot in enumerate(numbers):
            saved = number < len(paths)
            values[image.numbered(slot)] = _switch(saved, ("Discard", "Save"))
            values[path.numbered(slot)] = paths[number] if saved else ""
            values[written.numbered(slot)] = int(saved)
    return values


def _counting(dtype: str) -> bool:
    return dtype in ("uint8", "int8")


def _camera(setup: Setup) -> dict[str, object]:
    ky, kx = setup.frame_shape
    return {
        keys.BINNING_X.name: 1,
        keys.BINNING_Y.name: 1,
        keys.CAMERA_MODEL.name: "DESim",
        keys.CAMERA_NAME.name: "DESim",
        keys.CAMERA_SERIAL.name: "",
        keys.CROP_OFFSET_X.name: 0,
        keys.CROP_OFFSET_Y.name: 0,
        keys.CROP_SIZE_X.name: kx,
        keys.CROP_SIZE_Y.name: ky,
        keys.EXPOSURE_MODE.name: "Normal",
        keys.EXPOSURE_TIME.name: f"{setup.planned * _DWELL:.6f}",
        keys.FRAME_COUNT.name: setup.frames,
        keys.FRAME_TIME.name: round(_DWELL * 1e9),
        keys.FRAME_RATE.name: f"{1 / _DWELL:g}",
        keys.HARDWARE_BINNING_X.name: 1,
        keys.HARDWARE_BINNING_Y.name: 1,
        keys.HARDWARE_ROI_SIZE_X.name: kx,
        keys.HARDWARE_ROI_SIZE_Y.name: ky,
        keys.PROCESSING_MODE.name: _switch(_counting(setup.dtype), ("Integrating", "Counting")),
        keys.IMAGE_SIZE_X.name: kx,
        keys.IMAGE_SIZE_Y.name: ky,
        keys.FRAMES_REQUESTED.name: setup.planned,
        keys.PRESET_PROPERTIES.name: f"Readout - Shutter:Rolling,{keys.FRAME_RATE}:{1 / _DWELL:g}",
        keys.COVER_STATUS.name: "Open",
        keys.PIXEL_PITCH.name: 10,
        keys.SENSOR_SIZE_X.name: 1024,
        keys.SENSOR_SIZE_Y.name: 1024,
        keys.TEMPERATURE.name: -20,
        keys.TEST_PATTERN.name: "SW Frame Number",
    }


def _instrument() -> dict[str, object]:
    return {
        # Different in x and y, to detect readers that swap them.
        keys.DIFFRACTION_PIXEL_X.name: 0.08,
        keys.DIFFRACTION_PIXEL_Y.name: 0.1,
        keys.SPECIMEN_PIXEL_X.name: 0.4,
        keys.SPECIMEN_PIXEL_Y.name: 0.5,
        keys.VOLTAGE.name: 200000,
        keys.CAMERA_LENGTH.name: 20,
        keys.MAGNIFICATION.name: 80000,
        keys.PROJECT_MODE.name: -1,
        keys.PROJECT_NAME.name: "Unknown",
        keys.PROJECT_SUB_MODE.name: -1,
        keys.TEM_OR_STEM.name: 1,
    }


def _scan(setup: Setup) -> dict[str, object]:
    y, x = setup.scan_shape
    roi_y, roi_x = setup.roi or setup.scan_shape
    points = setup.planned // (setup.repeats * setup.point_repeats)
    once = points * setup.point_repeats * _DWELL + roi_y * _FLYBACK
    return {
        keys.POINT_REPEATS.spelled(_VERSIONS[setup.server]): setup.point_repeats,
        keys.SCAN_CONTROLLER.name: "DE-FreeScan",
        keys.DWELL_TIME.name: f"{_DWELL * 1e6:g}",
        keys.SCAN_ENABLE.name: _switch(setup.scan),
        keys.FLYBACK_NEGATIVE.name: f"{_FLYBACK * 1e6:g}",
        keys.FLYBACK_POSITIVE.name: f"{_FLYBACK * 1e6:g}",
        keys.SCAN_POINTS.name: points,
        keys.ROI_ENABLE.name: _switch(setup.roi),
        keys.ROI_OFFSET_X.name: (x - roi_x) // 2,
        keys.ROI_OFFSET_Y.name: (y - roi_y) // 2,
        keys.ROI_SIZE_X.name: roi_x,
        keys.ROI_SIZE_Y.name: roi_y,
        keys.ROI_TYPE.name: "Raster",
        keys.REPEAT_DELAY.name: 0.5,
        keys.SCAN_REPEATS.name: setup.repeats,
        keys.SCAN_ROTATION.name: 0,
        keys.SCAN_SIZE_X.name: x,
        keys.SCAN_SIZE_Y.name: y,
        keys.SCAN_TIME.name: f"{once:.6f}",
        keys.SCAN_TYPE.name: "XY File" if setup.custom else "Raster",
        keys.POINTS_FILE.name: f"{_FOLDER}{setup.name}.xyz" if setup.custom else "",
        keys.POINTS_PATTERN.name: 0,
    }


def _detectors(setup: Setup) -> dict[str, object]:
    values: dict[str, object] = {}
    virtual, external = list(setup.virtual), list(setup.external)
    for slot in range(5):
        used = slot < len(virtual)
        values[keys.VIRTUAL_CALCULATION.numbered(slot)] = "Sum"
        values[keys.VIRTUAL_NAME.numbered(slot)] = virtual[slot] if used else f"Virt #{slot}"
        values[keys.VIRTUAL_SHAPE.numbered(slot)] = "Ellipse" if used else "Off"
    for slot in range(1, 5):
        used = slot <= len(external)
        values[keys.EXTERNAL_ENABLE.numbered(slot)] = _switch(used)
        values[keys.EXTERNAL_NAME.numbered(slot)] = external[slot - 1] if used else f"Ext #{slot}"
    return values
