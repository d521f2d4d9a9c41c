"""The keys of a Direct Electron sidecar: spelling and meaning.

The names are those that DE Server 2.7.2 to 2.7.5 writes; their meaning is from the server's user
documentation and from acquisitions. Servers write several hundred more keys, which mrcdist does not
use. Keys that mrcdist reads or writes are spelled only in this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial


@dataclass(frozen=True)
class Key:
    """One property of the server."""

    name: str  # spelling in the sidecar; ``{}`` stands for the number of a detector
    meaning: str
    unit: str = ""
    # Other spellings, by the version of the server that uses them, best first.
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    calibrates: bool = False  # whether it calibrates an axis
    if_not_a_number: str = ""  # consequence for the axes, shown in a note; "" if there is none
    varies: bool = False  # whether it differs between acquisitions with the same settings
    # Name in HyperSpy, below ``Acquisition_instrument.TEM``; factor and divisor that convert to its
    # unit (keV, mm, s).
    hyperspy: tuple[str, int, int] | None = None
    example: str | float | None = None  # value in all simulated acquisitions

    @property
    def spellings(self) -> tuple[str, ...]:
        """All spellings, best first."""
        return (self.name, *self.aliases.values())

    def spelled(self, version: str) -> str:
        """Return the spelling used by a version of the server."""
        return self.aliases.get(version, self.name)

    def numbered(self, number: int) -> str:
        """Return the key for one detector."""
        return self.name.format(number)

    def __str__(self) -> str:
        return self.name


_scale = partial(Key, calibrates=True, if_not_a_number="the axis is not calibrated")
_count = partial(Key, if_not_a_number="1 is assumed")
_mode = partial(Key, if_not_a_number="it is not used")
_varying = partial(Key, varies=True)

# The server and the acquisition
SERVER_VERSION = Key("Server Software Version", "version of DE Server")
TIMESTAMP = _varying(
    "Timestamp (seconds since Epoch)", "start of the acquisition", "s", example=1767225600
)
LOCAL_TIME = _varying(
    "Local time", "the same as text, in the server's time zone", example="Thu Jan  1 00:00:00 2026"
)
ACQUISITION_COUNTER = _varying("Acquisition Counter", "number of the next acquisition")
DATASET_NAME = _varying("Dataset Name", "stem of the file names")
TOTAL_ACQUISITIONS = Key("Total Number of Acquisitions", "acquisitions requested", example=1)
REMAINING_ACQUISITIONS = _varying(
    "Remaining Number of Acquisitions", "acquisitions still to come", example=0
)
SYSTEM_STATUS = _varying("System Status", "what the server was doing", example="Saving frames...")
SERVER_PORT = Key("Server Port Number", "TCP port of the server", example=13240)
COMPUTER_NAME = Key("Computer Name", "computer of the server", example="DE-Simulator")
AUTOSAVE_STATUS = _varying("Autosave Status", "status of saving, up to server 2.7.2")
ACQUISITION_STATUS = _varying("Acquisition Status", "state of the acquisition, since server 2.7.5")

# Saved files
AUTOSAVE_DIRECTORY = _varying("Autosave Directory", "folder of the files, on the server")
AUTOSAVE_FORMAT = Key("Autosave File Format", "file format of all images", example="MRC")
AUTOSAVE_SUFFIX = _varying("Autosave Filename Suffix", "text after date and number in the stem")
FINAL_IMAGE = Key(
    "Autosave Final Image", "whether the sum of the movie is saved", example="Discard"
)
FINAL_IMAGE_PATH = _varying("Autosave Final Image File Path", "file of the sum", example="")
FINAL_FRAMES_WRITTEN = _varying("Autosave Final Frames Written", "images in that file", example=0)
IMAGES_PER_FILE = Key("Autosave Maximum Images Per File", "frames per part of a movie")
MOVIE = Key("Autosave Movie", "whether the movie is saved", example="Save")
MOVIE_FORMAT = Key("Autosave Movie File Format", "file format of the movie", example="MRC")
MOVIE_PATH = _varying("Autosave Movie Frames File Path", "file of the movie")
MOVIE_FRAMES_WRITTEN = _varying("Autosave Movie Frames Written", "frames in the movie")
SUM_COUNT = _scale(
    "Autosave Movie Sum Count", "camera frames summed in each stored frame", example=1
)
COUNTED_FORMAT = Key("Autosave Counted Movie Pixel Format", "dtype of counted movies")
INTEGRATED_FORMAT = Key("Autosave Integrated Movie Pixel Format", "dtype of integrated movies")
IMAGES_FORMAT = Key(
    "Autosave VirtualExt File Format", "file format of virtual and external images", example="MRC"
)
VIRTUAL_IMAGE = Key("Autosave Virtual Image {}", "whether a virtual image is saved")
VIRTUAL_IMAGE_PATH = Key("Autosave Virtual Image {} File Path", "file of a virtual image")
VIRTUAL_IMAGE_WRITTEN = Key("Autosave Virtual Image {} Frames Written", "images in that file")
EXTERNAL_IMAGE = Key("Autosave External Image {}", "whether an external detector's image is saved")
EXTERNAL_IMAGE_PATH = Key("Autosave External Image {} File Path", "file of such an image")
EXTERNAL_IMAGE_WRITTEN = Key("Autosave External Image {} Frames Written", "images in that file")

# Camera and frames
BINNING_X = Key("Binning X", "columns binned in software", example=1)
BINNING_Y = Key("Binning Y", "rows binned in software", example=1)
CAMERA_MODEL = Key("Camera Model", "model of the camera", example="DESim")
CAMERA_NAME = Key("Camera Name", "name of the camera", example="DESim")
CAMERA_SERIAL = Key("Camera SN", "serial number of the camera", example="")
CROP_OFFSET_X = Key("Crop Offset X", "first column kept", "px", example=0)
CROP_OFFSET_Y = Key("Crop Offset Y", "first row kept", "px", example=0)
CROP_SIZE_X = Key("Crop Size X", "columns kept", "px")
CROP_SIZE_Y = Key("Crop Size Y", "rows kept", "px")
EXPOSURE_MODE = Key("Exposure Mode", "kind of exposure: Normal, Dark, Gain", example="Normal")
EXPOSURE_TIME = Key("Exposure Time (seconds)", "exposure of the whole movie", "s")
FRAME_COUNT = _varying("Frame Count", "frames acquired")
FRAME_TIME = Key("Frame Time (nanoseconds)", "exposure of a camera frame", "ns")
FRAME_RATE = _scale(
    "Frames Per Second", "camera frames per second", "1/s", hyperspy=("frames_per_second", 1, 1)
)
HARDWARE_BINNING_X = Key("Hardware Binning X", "columns binned in the camera", example=1)
HARDWARE_BINNING_Y = Key("Hardware Binning Y", "rows binned in the camera", example=1)
HARDWARE_ROI_SIZE_X = Key("Hardware ROI Size X", "columns read out", "px")
HARDWARE_ROI_SIZE_Y = Key("Hardware ROI Size Y", "rows read out", "px")
PROCESSING_MODE = Key("Image Processing - Mode", "Counting or Integrating")
IMAGE_SIZE_X = Key("Image Size X (pixels)", "columns of a frame", "px")
IMAGE_SIZE_Y = Key("Image Size Y (pixels)", "rows of a frame", "px")
FRAMES_REQUESTED = Key("Number of Frames Requested", "frames requested")
PRESET_PROPERTIES = Key("Preset - Properties", "properties that a preset sets")
COVER_STATUS = Key("Protection Cover Status", "Open or Closed", example="Open")
PIXEL_PITCH = Key(
    "Sensor Pixel Pitch (micrometers)", "distance between pixels of the sensor", "µm", example=10
)
SENSOR_SIZE_X = Key("Sensor Size X (pixels)", "columns of the sensor", "px", example=1024)
SENSOR_SIZE_Y = Key("Sensor Size Y (pixels)", "rows of the sensor", "px", example=1024)
TEMPERATURE = _varying(
    "Temperature - Detector (Celsius)", "temperature of the sensor", "°C", example=-20
)
TEST_PATTERN = Key(
    "Test Pattern", "pattern that replaces the camera's frames", example="SW Frame Number"
)
GAIN = Key(
    "ADUs Per Electron Bin1x", "counts per electron", "ADU", aliases={"2.7.5": "ADUs Per Electron"}
)

# Calibration and microscope. Examples differ in x and y, to detect readers that swap them.
DIFFRACTION_PIXEL_X = _scale(
    "Diffraction Pixel Size X", "width of a pixel of a pattern", "nm^-1", example=0.08
)
DIFFRACTION_PIXEL_Y = _scale(
    "Diffraction Pixel Size Y", "height of a pixel of a pattern", "nm^-1", example=0.1
)
SPECIMEN_PIXEL_X = _scale(
    "Specimen Pixel Size X (nanometers)",
    "distance between scan points or image columns",
    "nm",
    example=0.4,
)
SPECIMEN_PIXEL_Y = _scale(
    "Specimen Pixel Size Y (nanometers)",
    "distance between scan lines or image rows",
    "nm",
    example=0.5,
)
VOLTAGE = Key(
    "Instrument Accelerating Voltage (V)",
    "accelerating voltage",
    "V",
    hyperspy=("beam_energy", 1, 1000),
    example=200000,
)
CAMERA_LENGTH = _mode(
    "Instrument Project Camera Length (centimeters)",
    "camera length",
    "cm",
    hyperspy=("camera_length", 10, 1),
    example=20,
)
MAGNIFICATION = Key(
    "Instrument Project Magnification",
    "magnification",
    hyperspy=("magnification", 1, 1),
    example=80000,
)
PROJECT_MODE = Key("Instrument Project Mode", "mode of the microscope, by number", example=-1)
PROJECT_NAME = Key("Instrument Project Name", "mode of the microscope", example="Unknown")
PROJECT_SUB_MODE = Key("Instrument Project Sub Mode", "its sub-mode, by number", example=-1)
TEM_OR_STEM = _mode("Instrument Project TEMorSTEM Mode", "0 TEM, 1 STEM", example=1)

# Scan and detectors
SCAN_CONTROLLER = Key("Scan - Controller", "scan generator", example="DE-FreeScan")
DWELL_TIME = Key(
    "Scan - Dwell Time (microseconds)",
    "time per scan point",
    "µs",
    hyperspy=("dwell_time", 1, 1_000_000),
)
SCAN_ENABLE = Key("Scan - Enable", "whether the movie is a scan")
FLYBACK_NEGATIVE = Key(
    "Scan - Flyback Time Going Negative (microseconds)", "time from line to line", "µs"
)
FLYBACK_POSITIVE = Key(
    "Scan - Flyback Time Going Positive (microseconds)", "time from line to line", "µs"
)
POINT_REPEATS = Key(
    "Scan - Point Repeats",
    "frames at each point of one scan",
    aliases={"2.7.2": "Scan - Point Repeat", "2.7.5": "Scan - Camera Frames Per Point"},
)
SCAN_POINTS = Key("Scan - Points", "points of one scan")
POINTS_PER_FRAME = _count("Scan - Points Per Camera Frame", "scan points during one frame")
ROI_ENABLE = Key("Scan - ROI Enable", "whether a region of the scan is scanned")
ROI_OFFSET_X = Key("Scan - ROI Offset X", "first column of the region", "points")
ROI_OFFSET_Y = Key("Scan - ROI Offset Y", "first row of the region", "points")
ROI_SIZE_X = Key("Scan - ROI Size X", "columns of the region", "points")
ROI_SIZE_Y = Key("Scan - ROI Size Y", "rows of the region", "points")
ROI_SUBSAMPLING = _count(
    "Scan - ROI Subsampling", "one point of the region is scanned out of this many"
)
ROI_TYPE = Key("Scan - ROI Type", "order of the region's points", example="Raster")
REPEAT_DELAY = _scale("Scan - Repeat Delay (seconds)", "pause between repeats", "s", example=0.5)
SCAN_REPEATS = Key("Scan - Repeats", "number of times the scan is done")
SCAN_ROTATION = Key("Scan - Rotation", "rotation of the scan", "degrees", example=0)
SCAN_SIZE_X = Key("Scan - Size X", "columns of the scan", "points")
SCAN_SIZE_Y = Key("Scan - Size Y", "rows of the scan", "points")
SCAN_SUBSAMPLING = _count("Scan - Subsampling", "one point is scanned out of this many")
SCAN_TIME = _scale("Scan - Time (seconds)", "time of one scan", "s")
TIME_PER_SCAN = Key("Scan - Time Per Scan (seconds)", "the same, added by later servers", "s")
SCAN_TYPE = Key("Scan - Type", "order of the points: Raster, or another")
POINTS_FILE = Key("Scan - XY File", "list of points of a custom scan, on the server")
POINTS_PATTERN = Key("Scan - XY File Pattern ID", "pattern in that list", example=0)
VIRTUAL_CALCULATION = Key("Scan - Virtual Detector {} Calculation", "its calculation")
VIRTUAL_NAME = Key("Scan - Virtual Detector {} Name", "name of a virtual detector")
VIRTUAL_SHAPE = Key("Scan - Virtual Detector {} Shape", "shape of a virtual detector, or Off")
EXTERNAL_ENABLE = Key("Scan - External Detector {} Enable", "whether an external detector records")
EXTERNAL_NAME = Key("Scan - External Detector {} Name", "name of an external detector")

#: All keys above, in this order.
KEYS = tuple(value for value in list(globals().values()) if isinstance(value, Key))

#: Keys with a name in HyperSpy, followed by the entries of `Key.hyperspy`, in the order in which
#: metadata and new sidecars contain them: the microscope first.
IN_HYPERSPY = tuple(
    (key, *key.hyperspy) for key in sorted(KEYS, key=lambda key: key is FRAME_RATE) if key.hyperspy
)
