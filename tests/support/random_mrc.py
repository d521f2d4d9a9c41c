"""Random datasets in MRC files: a seed always gives the same files, options and expected array.

Headers are as unusual as the rules of the format allow, with noise in all unused bytes.
"""

from __future__ import annotations

import bz2
import gzip
import math
import random
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IMOD = 1146047817
LABEL = b"SerialEMCCD: Dose frac. image, scaled by 1.00  r/f 0  4 bits packed"
CODECS = {1: "blosclz", 2: "lz4", 3: "lz4hc", 5: "zlib", 6: "zstd"}
_BLOCKS = 12
DTYPES = {1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2", 7: "i4", 8: "u4"}


@dataclass
class Case:
    """Files by name, options for reading them, and the expected array."""

    number: int
    files: dict[str, bytes] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    """Names of the files with frames, in order."""
    as_list: bool = False
    """Whether the reader gets all file names, not only the first."""
    options: dict[str, Any] = field(default_factory=dict)
    scan: tuple[int, ...] | None = None
    points: list[tuple[int, int]] | None = None
    compression: str | None = None
    codec: int = 0
    truth: np.ndarray | None = None
    """The expected array; None if reading may fail."""
    words: list[str] = field(default_factory=list)
    """Description of the case for messages."""
    settings: dict[str, Any] = field(default_factory=dict)
    place: str = "disk"


def make_case(number: int) -> Case:
    """Return the case with this seed."""
    rng = random.Random(number)
    case = Case(number)
    noise = np.random.default_rng(number)
    head = _Header(rng, case)
    nz = _split(rng, case)
    stored, frames = _payload(rng, noise, head, sum(nz), case)
    case.truth = frames
    _arrange(rng, case, head, nz)
    _write(rng, case, head, nz, stored)
    _settings(rng, case)
    return case


class _Header:
    """Header fields shared by all files of a case, and the main header of each."""

    def __init__(self, rng: random.Random, case: Case) -> None:
        self.rng = rng
        self.order = rng.choice("<<>")
        self.mode = rng.choice((0, 0, 0, 1, 1, 2, 3, 4, 6, 12, 16, 101, 101))
        self.nx, self.ny = rng.choice(((1, 1), (7, 3), (8, 5), (13, 4), (5, 1), (1, 6), (16, 16)))
        self.flags = rng.choice((None, None, None, 0, 1, 4, 5, 2))
        self.labels: tuple[bytes, ...] = rng.choice(((), (b"a label",), (b"\xe9\xff", b"x" * 80)))
        self.packed = False
        self.statistics = (0.0, -1.0, -2.0, -1.0)
        self.unsigned = False
        if self.mode == 0:
            self._choose_bytes(case)
        self.ispg = rng.choice((0, 0, 1, 1, 4, 230))
        self.mz = rng.choice((0, 1, 3))
        self.mapcrs = rng.choice(((1, 2, 3), (1, 2, 3), (0, 0, 0), (3, 1, 2), (2, 1, 3), (2, 3, 1)))
        self.intervals = tuple(rng.choice((0, 1, 7, 100, -3)) for _ in range(2))
        self.cell = tuple(rng.choice((0.0, 1.0, 33.5, 700.0, -8.0)) for _ in range(3))
        self.start = tuple(rng.choice((0, 0, -3, 12)) for _ in range(3))
        self.origin = tuple(rng.choice((0.0, 0.0, -70.5, 1e4)) for _ in range(3))
        self.nversion = rng.choice((20140, 20141, 0, 20140, 999))
        self.words = rng.choice(("MAP", "MAP", "MAP", "MAP0", "none", "old"))
        self.stamp = rng.choice(("right", "right", "right", "zeros", "wrong", "noise"))

    def _choose_bytes(self, case: Case) -> None:
        rng = self.rng
        kind = rng.choice(("caller", "flag", "statistics", "default", "flag 16", "label", "uint4"))
        case.words.append(f"mode 0 by {kind}")
        self.flags = None
        if kind == "caller":
            self.flags = rng.choice((None, 0, 1, 4))
            case.options["mode0"] = rng.choice(("int8", "uint8"))
            self.unsigned = case.options["mode0"] == "uint8"
        elif kind == "flag":
            self.flags = rng.choice((0, 1, 4, 5))
            self.unsigned = not self.flags & 1
        elif kind == "flag 16":
            self.flags = rng.choice((16, 17, 20))
            self.packed = True
        elif kind == "label":
            self.nx, self.ny = rng.choice(((4, 8), (10, 20), (20, 41)))
            self.labels = rng.choice(((LABEL,), (b"first", LABEL)))
            self.packed = True
        elif kind == "uint4":
            case.options["mode0"] = "uint4"
            self.packed = True
        elif kind == "statistics":
            dmin, dmax = rng.choice(
                (
                    (0, 255),
                    (0, 128),
                    (5, 200),
                    (-128, 127),
                    (-3, 3),
                    (-10, 137),
                    (-9, 137),
                    (0, 127),
                )
            )
            self.statistics = (
                dmin,
                dmax,
                rng.choice((1.0, -2.0, math.nan)),
                rng.choice((3.0, -1.0)),
            )
            self.unsigned = (dmin >= 0 and dmax >= 128) or (dmin < 0 and dmax >= 128 - dmin)
        else:
            self.statistics = rng.choice(((0, 0, 0, 0), (0, -1, -2, -1), (math.nan, 255, 0, 0)))

    @property
    def columns(self) -> int:
        return 2 * self.nx if self.packed else self.nx

    def file(
        self, nz: int, nsymbt: int, exttyp: bytes, *, codec: int = 0, nint=0, nreal=0
    ) -> bytes:
        """Return the 1024 bytes of a main header, with noise in all unused bytes."""
        rng, o = self.rng, self.order
        raw = bytearray(rng.randbytes(1024))
        put = struct.pack_into
        put(o + "4i", raw, 0, self.nx, self.ny, nz, 1000 * codec + self.mode)
        put(o + "6i", raw, 16, *self.start, *self.intervals, self.mz)
        put(o + "3f", raw, 40, *self.cell)
        put(o + "3i", raw, 64, *self.mapcrs)
        put(o + "3f", raw, 76, *self.statistics[:3])
        put(o + "2i", raw, 88, self.ispg, nsymbt)
        raw[104:108] = exttyp.ljust(4, rng.choice((b"\0", b" ")))
        put(o + "i", raw, 108, self.nversion)
        put(o + "2h", raw, 128, nint, nreal)
        put(
            o + "2i", raw, 152, 0 if self.flags is None else IMOD, self.flags or rng.choice((0, 16))
        )
        if self.flags == 0:
            put(o + "i", raw, 156, 0)
        put(o + "3f", raw, 196, *self.origin)
        raw[208:212] = {"MAP": b"MAP ", "MAP0": b"MAP\0"}.get(self.words, bytes(4))
        right = {"<": (b"DD\0\0", b"DA\0\0"), ">": (b"\x11\x11\0\0",)}[o]
        wrong = {"<": b"\x11\x11\0\0", ">": b"DD\0\0"}[o]
        stamps = {"right": rng.choice(right), "zeros": bytes(4), "wrong": wrong}
        raw[212:216] = stamps.get(self.stamp, b"\x01\x02\x03\x80")
        put(o + "f", raw, 216, self.statistics[3])
        if self.words == "old":
            put(o + "3f", raw, 208, -500.5, rng.choice((0.0, 20.25)), 7e3)
        put(o + "i", raw, 220, len(self.labels))
        for i, label in enumerate(self.labels):
            raw[224 + 80 * i : 304 + 80 * i] = label.ljust(80, rng.choice((b"\0", b" ")))
        return bytes(raw)


def _split(rng: random.Random, case: Case) -> list[int]:
    """Return the number of sections of each file."""
    files = rng.choice((1, 1, 1, 1, 2, 3, 4))
    if files > 1:
        case.words.append(f"{files} files")
    return [rng.choice((1, 2, 3, 4, 6)) for _ in range(files)]


def _payload(
    rng: random.Random, noise: np.random.Generator, head: _Header, n: int, case: Case
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stored frames, as bytes of shape (frames, bytes), and their values."""
    if head.mode in (1, 2, 4, 6, 12) and rng.random() < 0.25:
        case.codec = rng.choice(list(CODECS))
        if head.mode in (1, 6) and rng.random() < 0.3:
            head.mode = {1: 7, 6: 8}[head.mode]  # modes that only MRCZ has
        case.words.append(f"MRCZ {CODECS[case.codec]}")
    shape = (n, head.ny, head.columns)
    if head.packed or head.mode == 101:
        numbers = noise.integers(0, 16, shape, "u1")
        padded = np.zeros((n, head.ny, -(-head.columns // 2) * 2), "u1")
        padded[..., : head.columns] = numbers
        stored = padded[..., 0::2] | padded[..., 1::2] << 4
    elif head.mode == 0:
        numbers = noise.integers(0, 256, shape, "u1")
        stored = numbers
        numbers = numbers if head.unsigned else numbers.view("i1")
    elif head.mode == 3:
        pairs = noise.integers(-(2**15), 2**15, (*shape, 2)).astype(head.order + "i2")
        stored = pairs
        numbers = (pairs[..., 0].astype("f4") + 1j * pairs[..., 1].astype("f4")).astype("c8")
    elif head.mode == 16:
        numbers = stored = noise.integers(0, 256, (*shape, 3), "u1")
    else:
        dtype = DTYPES[head.mode]
        if dtype[0] in "fc":
            numbers = noise.normal(0, 100, shape).astype(dtype)
            if dtype == "c8":
                numbers = (numbers + 1j * noise.normal(0, 1, shape)).astype(dtype)
        else:
            numbers = noise.integers(0, 2**15, shape).astype(dtype)
        stored = numbers.astype(np.dtype(dtype).newbyteorder(head.order))
    return stored.reshape(n, -1).view("u1") if stored.size else stored, numbers


def _arrange(rng: random.Random, case: Case, head: _Header, nz: list[int]) -> None:
    """Choose the navigation axes, and give the expected array their shape."""
    n, frames = sum(nz), case.truth
    kind = rng.choice(("sections", "sections", "shape", "shape", "raster", "custom", "volumes"))
    if len(nz) > 1 and kind in ("sections", "volumes"):
        kind = "shape"  # sections of several files are tested elsewhere
    case.words.append(kind)
    if kind == "volumes":
        head.ispg = rng.choice((401, 402, 630))
        head.mz = rng.choice([mz for mz in range(1, n + 1) if n % mz == 0])
        shape: tuple[int, ...] = (n // head.mz, head.mz)
    elif kind == "shape":
        shape = _factors(rng, n)
        given = list(shape[::-1])
        if rng.random() < 0.3:
            given[rng.randrange(len(given))] = -1
        case.options["navigation_shape"] = tuple(given)
    elif kind == "raster":
        shape = case.scan = _factors(rng, n, 4)
    elif kind == "custom":
        rows, columns = rng.choice(((1, n), (n, 2), (3, n), (4, 5)))
        case.scan = (rows, columns)
        places = [(x, y) for y in range(rows) for x in range(columns)]
        unique = len(places) >= n and rng.random() < 0.6
        case.points = rng.sample(places, n) if unique else rng.choices(places, k=n)
        shape = (n,)
    else:
        shape = (n,)
    if kind == "custom":
        case.truth = None  # the plain reader computes the table of frame numbers
        return
    lengths = [size for size in shape if size != 1] or [1] * ("navigation_shape" in case.options)
    case.truth = frames.reshape(*lengths, *frames.shape[1:])


def _factors(rng: random.Random, n: int, parts: int = 0) -> tuple[int, ...]:
    """Return a random shape with n elements, of `parts` axes if that is not 0."""
    shape: list[int] = []
    wanted = parts or rng.choice((1, 2, 3))
    while len(shape) < wanted - 1:
        shape.append(rng.choice([d for d in range(1, n + 1) if n % d == 0]))
        n //= shape[-1]
    shape.append(n)
    return tuple(shape)


def _extended(rng: random.Random, order: str, n: int) -> tuple[bytes, bytes, dict[str, int]]:
    kind = rng.choice(
        ("", "", "", "text", "untyped text", "noise", "FEI1", "FEI2", "SERI", "AGAR", "MRCO",
         "json", "zeros", "HDF5")
    )  # fmt: skip
    if kind in ("text", "untyped text"):
        return (
            b"CCP4" if kind == "text" else b"",
            b"X,  Y,  Z".ljust(80) * rng.choice((1, 2, 8)),
            {},
        )
    if kind in ("FEI1", "FEI2"):
        size = {"FEI1": 768, "FEI2": 888}[kind]
        record = struct.pack(order + "i", size).ljust(size, b"\0")
        return kind.encode(), record * (n + rng.choice((0, 3))), {}
    if kind == "SERI":
        return b"SERI", struct.pack(order + "h", 300) * n + bytes(rng.choice((0, 100))), {
            "nint": 2, "nreal": 1,
        }  # fmt: skip
    if kind == "AGAR":
        return b"AGAR", struct.pack(order + "2f", 0.0, 1.5) * n, {"nint": 0, "nreal": 2}
    if kind == "json":
        return b"json", b'{"key": [1, 2, {"a": null}]}', {}
    if kind == "":
        return b"", b"", {}
    if kind == "zeros":
        return b"", bytes(rng.choice((1, 80, 1024, 4096))), {}
    return kind.encode() if kind != "noise" else b"", rng.randbytes(rng.choice((1, 333, 1024))), {}


def _write(
    rng: random.Random, case: Case, head: _Header, nz: list[int], stored: np.ndarray
) -> None:
    """Create the files, complete or damaged in a way that the rules cover."""
    import blosc

    scan = case.scan is not None
    damage = "none"
    if rng.random() < 0.3:
        damage = rng.choice(
            (
                "trailing",
                "cut",
                "cut and allowed",
                "stale",
                "partial scan",
                "dropped",
                "cut as much",
            )
        )
    numbered = scan and len(nz) > 1
    stem = "20240102_00003"
    first = 0
    case.compression = rng.choice((None,) * 5 + ("gzip", "bzip2")) if not case.codec else None
    if case.compression or case.codec:
        damage = damage if damage in ("stale", "partial scan") else "none"
    for i, sections in enumerate(nz):
        frames = stored[first : first + sections]
        first += sections
        exttyp, extended, more = _extended(rng, head.order, sections)
        announced = sections
        if damage == "stale" and i == len(nz) - 1 and (scan or _fixed(case)):
            announced = rng.choice([n for n in range(sections) if n or sections > 1] or [sections])
        raw = head.file(announced, len(extended), exttyp, codec=case.codec, **more)
        if case.codec:
            chunks = [
                blosc.compress(
                    one.tobytes(), 4, cname=CODECS[case.codec], clevel=rng.choice((0, 1, 5))
                )
                for one in frames
            ]
            body = b"".join(chunks)
        else:
            body = frames.tobytes()
        raw = raw + (extended if damage != "dropped" else b"") + body
        if damage == "cut as much" and extended and i == len(nz) - 1:
            raw = raw[: max(len(raw) - len(extended), 1024)]
        if damage == "trailing":
            raw += rng.randbytes(rng.choice((1, 100, max(stored.shape[1] - 1, 1))))
        elif damage.startswith("cut") and i == len(nz) - 1 and len(body) > 1:
            raw = raw[: len(raw) - rng.randrange(1, len(body))]
        name = f"{i}.{rng.choice(('mrc', 'mrcs', 'map', 'st'))}"
        if numbered:
            name = f"{stem}_{i}_movie.mrc"
        elif scan:
            name = f"{stem}_movie.mrc"
        if case.compression == "gzip":
            raw = gzip.compress(raw, rng.choice((0, 6)), mtime=0)
        elif case.compression == "bzip2":
            raw = bz2.compress(raw)
        case.files[name] = raw
        case.data.append(name)
    if damage == "partial scan":
        _too_few(rng, case)
    if damage in ("cut and allowed", "partial scan", "cut as much") or rng.random() < 0.1:
        case.options["allow_truncated"] = rng.random() < 0.8
    if damage != "none" and damage != "trailing":
        case.truth = None
    case.words.append(damage)
    case.as_list = len(nz) > 1 and not numbered
    if scan:
        case.files[f"{stem}_info.txt"] = _sidecar(case)
        if case.points is not None:
            lines = (f"{x},{y}\n" for x, y in case.points)
            case.files[f"{stem}_scan_coordinates.csv"] = "".join(lines).encode()


def _fixed(case: Case) -> bool:
    shape = case.options.get("navigation_shape")
    return shape is not None and -1 not in shape


def _too_few(rng: random.Random, case: Case) -> None:
    """Change the scan so that it has more points than frames."""
    more = rng.choice((1, 2, 5))
    if case.points is not None:
        rows, columns = case.scan or (1, 1)
        case.points += [(rng.randrange(columns), rng.randrange(rows)) for _ in range(more)]
    elif case.scan is not None:
        case.scan = (case.scan[0] + more, *case.scan[1:])
    elif _fixed(case):
        *rest, last = case.options["navigation_shape"]
        case.options["navigation_shape"] = (*rest, last + more)


def _sidecar(case: Case) -> bytes:
    scan = case.scan or ()
    if case.points is not None:
        lines = {"Scan - Type": "XY File", "Scan - Size Y": scan[0], "Scan - Size X": scan[1]}
    else:
        lines = {
            "Scan - Type": "Raster",
            "Scan - Repeats": scan[0],
            "Scan - Size Y": scan[1],
            "Scan - Size X": scan[2],
            "Scan - Camera Frames Per Point": scan[3],
        }
    lines["Scan - Enable"] = "Enable"
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()


def _settings(rng: random.Random, case: Case) -> None:
    case.place = rng.choice(("disk", "disk", "memory", "memory", "file", "http", "zip", "cache"))
    if case.place == "http" and case.as_list is False and len(case.data) > 1:
        case.place = "memory"  # finding numbered parts needs a listing
    case.settings = {
        "mrcdist.io": rng.choice(("auto", "map", "read")),
        "mrcdist.max-gap": rng.choice(("auto", 0, 10, 10**6)),
        "mrcdist.sub-range": rng.choice((64, 1000, 2**20)),
        "mrcdist.concurrency": rng.choice((1, 3, 8)),
    }


def random_index(rng: random.Random, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return a basic index for numpy and dask: integers, slices with any step, and an ellipsis."""
    index: list[Any] = []
    for size in shape:
        kind = rng.randrange(4)
        if kind == 0:
            index.append(slice(None))
        elif kind == 1 and size:
            index.append(rng.randrange(-size, size))
        else:
            # x[-size - 1 :: -1] is all of x in dask, but empty in numpy.
            bounds = [rng.choice((None, rng.randint(-size, size + 1))) for _ in range(2)]
            index.append(slice(*bounds, rng.choice((None, 1, 2, 3, -1, -2))))
    if rng.random() < 0.3:
        cut = rng.randrange(len(index) + 1)
        return (*index[:cut], Ellipsis)
    return tuple(index)


def random_chunks(rng: random.Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return chunk lengths for every axis, with few blocks to save time."""
    chunks = [rng.choice((-1, 1, 2, max(size, 1))) for size in shape]
    while math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True) if c > 0) > _BLOCKS:
        chunks[rng.randrange(len(chunks))] = -1
    return tuple(chunks)
