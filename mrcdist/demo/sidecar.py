"""The text that a Direct Electron server writes beside a movie, `…_info.txt`.

Names of keys, their spelling by server version and the column of the equals sign are those of real
files; values are plausible, the ones that describe the scan and the frames are exact. -1 stands for
"not known", as it does in real files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Server", "Setup", "sidecar_text", "sidecar_values"]

Server = Literal["2.7", "new"]

_KEY_WIDTH = 64
_FIRST_KEYS = ("Server Software Version", "Timestamp (seconds since Epoch)", "Local time")
_FOLDER = "D:\\Data\\"  # the server runs on Windows; nothing may take its paths for real
_DWELL = 500e-6  # seconds a frame
_FLYBACK = 10e-6


@dataclass(frozen=True)
class Setup:
    """What an acquisition was set up to do, as far as the sidecar tells it.

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


def sidecar_text(values: Mapping[str, str], newline: str = "\n") -> bytes:
    r"""Lay the values out as a server does.

    Parameters
    ----------
    values : mapping of str to str
        In the order in which they are written.
    newline : str, default "\\n"
        Servers up to 2.7.2 write CRLF, later ones LF.

    Returns
    -------
    bytes
        One line a key, the equals sign in column 65, latin-1.
    """
    lines = [f"{key:<{_KEY_WIDTH}}= {value}" for key, value in values.items()]
    return (newline.join(lines) + newline).encode("latin-1")


def sidecar_values(setup: Setup) -> dict[str, str]:
    """Return every key and value of one acquisition's sidecar.

    Parameters
    ----------
    setup : Setup
        What was acquired.

    Returns
    -------
    dict of str to str
        Server and time first, then by name, as in real files.
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
        "Timestamp (seconds since Epoch)": 1767225600,
        "Local time": "Thu Jan  1 00:00:00 2026",
        "Acquisition Counter": int(acquisition) + 1 if acquisition.isdecimal() else 1,
        "Dataset Name": setup.name,
        "Total Number of Acquisitions": 1,
        "Remaining Number of Acquisitions": 0,
        "System Status": "Saving frames...",
        "Server Port Number": 13240,
        "Computer Name": "DE-Simulator",
    }
    if setup.server == "2.7":
        status = {"Autosave Status": "In Progress", "ADUs Per Electron Bin1x": 300}
        return {"Server Software Version": "2.7.2.9048", **status, **common}
    status = {
        "Acquisition Status": "Finished" if setup.frames == setup.planned else "Stopped",
        "ADUs Per Electron": 51,
    }
    return {"Server Software Version": "2.7.5.10756", **status, **common}


def _autosave(setup: Setup) -> dict[str, object]:
    split = setup.frames_per_file < setup.planned
    values: dict[str, object] = {
        "Autosave Directory": _FOLDER,
        "Autosave File Format": "MRC",
        "Autosave Filename Suffix": "_".join(setup.name.split("_")[2:]),
        "Autosave Final Image": "Discard",
        "Autosave Final Image File Path": "",
        "Autosave Final Frames Written": 0,
        "Autosave Maximum Images Per File": setup.frames_per_file if split else -1,
        "Autosave Movie": "Save",
        "Autosave Movie File Format": "MRC",
        "Autosave Movie Frames File Path": _FOLDER + setup.movie,
        "Autosave Movie Frames Written": setup.frames,
        "Autosave Movie Sum Count": 1,
        "Autosave Counted Movie Pixel Format": "uint8",
        "Autosave Integrated Movie Pixel Format": "uint16",
        "Autosave VirtualExt File Format": "MRC",
    }
    made = "Counted" if _counting(setup.dtype) else "Integrated"
    values[f"Autosave {made} Movie Pixel Format"] = setup.dtype
    kinds = (("Virtual", setup.virtual, range(5)), ("External", setup.external, range(1, 5)))
    for kind, files, numbers in kinds:
        paths = [_FOLDER + file for file in files.values()]
        for number, slot in enumerate(numbers):
            saved = number < len(paths)
            key = f"Autosave {kind} Image {slot}"
            values[key] = _switch(saved, ("Discard", "Save"))
            values[f"{key} File Path"] = paths[number] if saved else ""
            values[f"{key} Frames Written"] = int(saved)
    return values


def _counting(dtype: str) -> bool:
    return dtype in ("uint8", "int8")


def _camera(setup: Setup) -> dict[str, object]:
    ky, kx = setup.frame_shape
    return {
        "Binning X": 1,
        "Binning Y": 1,
        "Camera Model": "DESim",
        "Camera Name": "DESim",
        "Camera SN": "",
        "Crop Offset X": 0,
        "Crop Offset Y": 0,
        "Crop Size X": kx,
        "Crop Size Y": ky,
        "Exposure Mode": "Normal",
        "Exposure Time (seconds)": f"{setup.planned * _DWELL:.6f}",
        "Frame Count": setup.frames,
        "Frame Time (nanoseconds)": round(_DWELL * 1e9),
        "Frames Per Second": f"{1 / _DWELL:g}",
        "Hardware Binning X": 1,
        "Hardware Binning Y": 1,
        "Hardware ROI Size X": kx,
        "Hardware ROI Size Y": ky,
        "Image Processing - Mode": _switch(_counting(setup.dtype), ("Integrating", "Counting")),
        "Image Size X (pixels)": kx,
        "Image Size Y (pixels)": ky,
        "Number of Frames Requested": setup.planned,
        "Preset - Properties": f"Readout - Shutter:Rolling,Frames Per Second:{1 / _DWELL:g}",
        "Protection Cover Status": "Open",
        "Sensor Pixel Pitch (micrometers)": 10,
        "Sensor Size X (pixels)": 1024,
        "Sensor Size Y (pixels)": 1024,
        "Temperature - Detector (Celsius)": -20,
        "Test Pattern": "SW Frame Number",
    }


def _instrument() -> dict[str, object]:
    return {
        # Different in x and y, so that a reader that swaps them is found out.
        "Diffraction Pixel Size X": 0.08,
        "Diffraction Pixel Size Y": 0.1,
        "Specimen Pixel Size X (nanometers)": 0.4,
        "Specimen Pixel Size Y (nanometers)": 0.5,
        "Instrument Accelerating Voltage (V)": 200000,
        "Instrument Project Camera Length (centimeters)": 20,
        "Instrument Project Magnification": 80000,
        "Instrument Project Mode": -1,
        "Instrument Project Name": "Unknown",
        "Instrument Project Sub Mode": -1,
        "Instrument Project TEMorSTEM Mode": 1,
    }


def _scan(setup: Setup) -> dict[str, object]:
    y, x = setup.scan_shape
    roi_y, roi_x = setup.roi or setup.scan_shape
    points = setup.planned // (setup.repeats * setup.point_repeats)
    new = setup.server == "new"
    once = points * setup.point_repeats * _DWELL + roi_y * _FLYBACK
    return {
        "Scan - Camera Frames Per Point" if new else "Scan - Point Repeat": setup.point_repeats,
        "Scan - Controller": "DE-FreeScan",
        "Scan - Dwell Time (microseconds)": f"{_DWELL * 1e6:g}",
        "Scan - Enable": _switch(setup.scan),
        "Scan - Flyback Time Going Negative (microseconds)": f"{_FLYBACK * 1e6:g}",
        "Scan - Flyback Time Going Positive (microseconds)": f"{_FLYBACK * 1e6:g}",
        "Scan - Points": points,
        "Scan - ROI Enable": _switch(setup.roi),
        "Scan - ROI Offset X": (x - roi_x) // 2,
        "Scan - ROI Offset Y": (y - roi_y) // 2,
        "Scan - ROI Size X": roi_x,
        "Scan - ROI Size Y": roi_y,
        "Scan - ROI Type": "Raster",
        "Scan - Repeat Delay (seconds)": 0.5,
        "Scan - Repeats": setup.repeats,
        "Scan - Rotation": 0,
        "Scan - Size X": x,
        "Scan - Size Y": y,
        "Scan - Time (seconds)": f"{once:.6f}",
        "Scan - Type": "XY File" if setup.custom else "Raster",
        "Scan - XY File": f"{_FOLDER}{setup.name}.xyz" if setup.custom else "",
        "Scan - XY File Pattern ID": 0,
    }


def _detectors(setup: Setup) -> dict[str, object]:
    values: dict[str, object] = {}
    virtual, external = list(setup.virtual), list(setup.external)
    for slot in range(5):
        key = f"Scan - Virtual Detector {slot}"
        used = slot < len(virtual)
        values[f"{key} Calculation"] = "Sum"
        values[f"{key} Name"] = virtual[slot] if used else f"Virt #{slot}"
        values[f"{key} Shape"] = "Ellipse" if used else "Off"
    for slot in range(1, 5):
        key = f"Scan - External Detector {slot}"
        used = slot <= len(external)
        values[f"{key} Enable"] = _switch(used)
        values[f"{key} Name"] = external[slot - 1] if used else f"Ext #{slot}"
    return values
