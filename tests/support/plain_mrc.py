"""A reference MRC reader in plain numpy: slow, simple, and independent of the package.

It implements the rules of the format for files that are completely in memory, without byte ranges,
stores, chunks or plans, and shares no code with the package.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, replace

import numpy as np

# MODE → dtype, and number of such values per pixel.
STORED = {
    0: ("i1", 1), 1: ("i2", 1), 2: ("f4", 1), 3: ("i2", 2), 4: ("c8", 1), 6: ("u2", 1),
    12: ("f2", 1), 16: ("u1", 3), 101: ("u1", 0.5), 7: ("i4", 1), 8: ("u4", 1),
}  # fmt: skip
PLAIN = STORED.keys() - {7, 8}
STAMPS = {b"DD": "<", b"DA": "<", b"\x11\x11": ">"}
IMOD = 1146047817
SUPER_RESOLUTION = ((7676, 7420), (7680, 7424), (11520, 8184))


class RefusedError(Exception):
    """The file must be rejected according to the rules."""


@dataclass
class Head:
    """The fields of a main header."""

    raw: bytes
    order: str

    def ints(self, at, n=1):
        found = struct.unpack_from(f"{self.order}{n}i", self.raw, at)
        return found if n > 1 else found[0]

    def floats(self, at, n=1):
        found = struct.unpack_from(f"{self.order}{n}f", self.raw, at)
        return found if n > 1 else found[0]

    @property
    def size(self):
        return self.ints(0, 3)

    @property
    def mode(self):
        return self.ints(12)

    @property
    def nsymbt(self):
        return self.ints(92)

    @property
    def flags(self):
        return self.ints(156) if self.ints(152) == IMOD else None

    @property
    def labels(self):
        n = min(max(self.ints(220), 0), 10)
        return [self.raw[224 + 80 * i : 304 + 80 * i] for i in range(n)]

    @property
    def possible(self):
        nx, ny, nz = self.size
        known = self.mode in PLAIN or (self.mode >= 1000 and self.mode % 1000 in STORED)
        return (
            nx > 0
            and ny > 0
            and nz >= 0
            and known
            and all(0 <= axis <= 3 for axis in self.ints(64, 3))
            and self.nsymbt >= 0
            and self.data_bytes() <= 2**50
        )

    def row_bytes(self):
        dtype, per_pixel = STORED[self.mode % 1000]
        return math.ceil(self.size[0] * per_pixel) * np.dtype(dtype).itemsize

    def data_bytes(self):
        return self.row_bytes() * self.size[1] * self.size[2]


def find_head(raw, known_size, endianness=None):
    """Return the header in its more plausible byte order."""
    heads = [Head(raw[:1024], order) for order in "<>"]
    heads = [head for head in heads if head.possible]
    if not heads:
        raise RefusedError("the header is implausible in both byte orders")
    if known_size is not None and any(head.nsymbt <= known_size for head in heads):
        heads = [head for head in heads if head.nsymbt <= known_size]
    if len(heads) == 1:
        return heads[0]
    exact = [h for h in heads if known_size == 1024 + h.nsymbt + h.data_bytes()]
    if len(exact) == 1:
        return exact[0]
    order = STAMPS.get(raw[212:214]) or endianness
    if order:
        return next(head for head in heads if head.order == order)
    return min(heads, key=lambda head: math.prod(max(n, 1) for n in head.size))


def packed_in_mode_0(head, mode0):
    """Return whether each byte holds two pixels, so that there are 2 NX columns."""
    if head.mode != 0:
        return False
    if head.flags is not None and head.flags & 16:
        return True
    if mode0 is not None or head.flags is not None:
        return mode0 == "uint4"
    if not any(b"4 bits packed" in label for label in head.labels):
        return False
    nx, ny, _ = head.size
    fits = any(
        abs(nx - a / 2) <= 2 and abs(ny - b) <= 2
        for frame in SUPER_RESOLUTION
        for a, b in (frame, frame[::-1])
    )
    return fits or abs(ny / nx - 2) <= 0.1


def unsigned_in_mode_0(head, mode0):
    """Decide by the option, IMOD's flag 1, IMOD's rule for DMIN and DMAX, or MRC2014's int8."""
    if mode0 is not None:
        return mode0 == "uint8"
    if head.flags is not None:
        return not head.flags & 1
    dmin, dmax = head.floats(76, 2)
    if not (math.isfinite(dmin) and math.isfinite(dmax) and dmin <= dmax):
        return False
    if dmin < 0:
        return dmax >= 128 and -dmin <= dmax - 128
    return dmax >= 128


def pixels_of(raw, head, mode0, packed):
    """Return frames as an array of shape (frames, rows, columns), or (…, 3) for colours."""
    nx, ny, _ = head.size
    mode = head.mode % 1000
    rows = np.frombuffer(raw, "u1").reshape(-1, ny, head.row_bytes())
    if mode == 101 or packed:
        nibbles = np.stack([rows & 15, rows >> 4], -1).reshape(*rows.shape[:2], -1)
        return nibbles[..., : 2 * nx if packed else nx]
    if mode == 0:
        return rows.view("u1" if unsigned_in_mode_0(head, mode0) else "i1")
    dtype = np.dtype(STORED[mode][0])
    numbers = rows.view(dtype.newbyteorder(head.order)).astype(dtype)
    if mode == 3:
        return (numbers[..., 0::2] + 1j * numbers[..., 1::2]).astype("c8")
    return numbers.reshape(len(rows), ny, nx, 3) if mode == 16 else numbers


# Types of extended headers whose bytes can always be recognised.
DECISIVE = (b"FEI1", b"FEI2", b"json", b"HDF5", b"CCP4")


def has_extended_header(head, block):
    """Return whether an extended header follows the main header; None if it is unclear."""
    kind = head.raw[104:108].rstrip(b"\0 ")
    if not any(block):
        return True
    if kind in (b"FEI1", b"FEI2"):
        return block[:4] in (struct.pack(o + "i", n) for o in "<>" for n in (768, 888))
    if kind == b"json":
        try:
            return isinstance(json.loads(block.rstrip(b"\0 ")), dict)
        except ValueError:
            return False
    if kind == b"HDF5":
        return block.startswith(b"\x89HDF\r\n\x1a\n")
    text = all(32 <= one < 127 or one in b"\0\t\r\n" for one in block)
    if kind in (b"CCP4", b"") and text and all(one in block[:80].upper() for one in b"XYZ,"):
        return True
    nint, nreal = struct.unpack_from(head.order + "2h", head.raw, 128)
    impossible = kind == b"CCP4" and not text
    if kind == b"SERI":  # here with only one value per section: 100 × tilt angle
        tilts = np.frombuffer(block[: len(block) // 2 * 2], head.order + "i2")[: head.size[2]]
        impossible = bool((np.abs(tilts.astype(int)) > 18000).any())
    if kind == b"AGAR":
        records = len(block) // (4 * (nint + nreal))
        if not records:
            return False
        numbers = np.frombuffer(block, head.order + "f4", records * (nint + nreal))
        reals = numbers.reshape(records, -1)[: head.size[2], nint:]
        sizes = np.abs(reals[reals != 0])
        floats = bool(((sizes >= 1e-20) & (sizes <= 1e20)).all())
        tilted = bool((np.abs(reals[:, 0]) <= 360).all())
        impossible = not (floats and tilted and reals.any())
    return False if impossible else None


def frames_of(raw, head, mode0, *, allowed, wanted, alone, decompress=None, known_size=True):
    """Return the whole frames of one file, and NZ.

    `wanted`: whether frames after the first NZ are read.
    """
    _, ny, nz = head.size
    frame = head.row_bytes() * ny
    if decompress is not None:
        at, sections = 1024 + head.nsymbt, []
        while at + 16 <= len(raw):
            size = struct.unpack_from("<i", raw, at + 12)[0]
            if not 16 <= size <= len(raw) - at:
                break
            sections.append(decompress(raw[at : at + size]))
            at += size
        body = b"".join(sections)
    else:
        start, data = 1024 + head.nsymbt, head.data_bytes()
        if known_size and head.nsymbt and len(raw) == 1024 + data:
            is_present = has_extended_header(head, raw[1024 : 1024 + head.nsymbt])
            if is_present is None and head.nsymbt < data:
                raise RefusedError("unclear whether there is an extended header")
            start = start if is_present else 1024
        elif known_size and head.nsymbt and len(raw) < start + data:
            # The extended header is missing and the file is truncated: frames would be misplaced.
            kind = head.raw[104:108].rstrip(b"\0 ")
            is_present = has_extended_header(head, raw[1024 : 1024 + head.nsymbt])
            if is_present is False and kind in DECISIVE:
                raise RefusedError("the bytes after the main header do not match EXTTYP")
        if head.raw[208:211] != b"MAP" and known_size and len(raw) < start + data:
            raise RefusedError("no word MAP, and the size does not match either")
        if start > len(raw):
            raise RefusedError("the extended header extends beyond the end of the file")
        body = raw[start:]
    packed = packed_in_mode_0(head, mode0)  # decided with NY as in the header
    whole = len(body) // frame
    rows = len(body) // head.row_bytes()
    if alone and allowed and known_size and decompress is None and nz == 1 and 0 < rows < ny:
        cut = head.raw[:4] + struct.pack(f"{head.order}i", rows) + head.raw[8:]
        head, frame, whole = replace(head, raw=cut), rows * head.row_bytes(), 1
    if whole < nz and (not allowed or whole == 0):
        raise RefusedError("frames are missing")
    n = whole if wanted else min(whole, nz)
    return pixels_of(body[: n * frame], head, mode0, packed), nz


def read(
    files,
    *,
    mode0=None,
    endianness=None,
    navigation_shape=None,
    scan=None,
    points=None,
    allow_truncated=False,
    decompress=None,
    known_size=True,
):
    """Read files as one dataset.

    `scan` is the shape of a raster scan, or (y, x) of a custom scan with `points` (x, y).
    `decompress` decompresses an MRCZ section. `known_size` is False for compressed files.
    """
    heads = [find_head(raw, len(raw) if known_size else None, endianness) for raw in files]
    announced = sum(head.size[2] for head in heads)
    places = None
    if navigation_shape is not None:
        rest = -math.prod(navigation_shape) if -1 in navigation_shape else None
        if rest is not None and announced % rest:
            raise RefusedError("-1 cannot be resolved")
        shape = tuple(announced // rest if n == -1 else n for n in navigation_shape)[::-1]
        places = None if rest is not None else math.prod(shape)
    elif scan is not None:
        shape = scan
        places = math.prod(scan) if points is None else len(points)
    parts = []
    for number, (raw, head) in enumerate(zip(files, heads, strict=True)):
        wanted = places is not None and places > announced
        frames, nz = frames_of(
            raw, head, mode0, allowed=allow_truncated, wanted=wanted, decompress=decompress,
            known_size=known_size, alone=len(files) == 1,
        )  # fmt: skip
        if len(frames) < nz and number + 1 < len(files):
            raise RefusedError("a part that others follow ends early")
        parts.append(frames)
    stack = np.concatenate(parts)
    there = max(announced, len(stack))
    if navigation_shape is not None or scan is not None:
        return in_places(stack, shape, points, there, allow_truncated, whole=navigation_shape)
    head, n = heads[0], len(stack)
    ispg, mz = head.ints(88), head.ints(36)
    volumes = 401 <= ispg <= 630 and mz > 0 and n % mz == 0
    navigation = (n // mz, mz) if volumes else (n,)
    return stack.reshape(*(size for size in navigation if size != 1), *stack.shape[1:])


def in_places(stack, shape, points, announced, allowed, *, whole):
    """Return the frames at their scan positions, with zeros for missing ones."""
    n = math.prod(shape) if points is None else len(points)
    if whole is not None and allowed and n == len(stack):
        announced = n  # the shape is that of the existing frames
    if n < announced or (n > announced and not allowed):
        raise RefusedError("number of frames differs from number of scan points")
    kept = stack[:n]
    if points is None:
        table = np.where(np.arange(n) < len(kept), np.arange(n), -1).reshape(shape)
    else:
        visits = {}
        for frame, (x, y) in enumerate(points):
            visits.setdefault((y, x), []).append(frame)
        most = max(map(len, visits.values()))
        table = np.full((*shape, most), -1)
        for place, numbers in visits.items():
            table[place][: len(numbers)] = numbers
        table[table >= len(kept)] = -1
    # A shape passed by the caller keeps at least one axis.
    lengths = [size for size in table.shape if size != 1]
    table = table.reshape(lengths or [1] * (whole is not None))
    out = np.zeros((*table.shape, *stack.shape[1:]), stack.dtype)
    out[table >= 0] = kept[table[table >= 0]]
    return out


def calibration(raw, endianness=None):
    """Return (name, scale, offset, units) of rows and columns of a single file, not of a scan."""
    head = find_head(raw, len(raw), endianness)
    cell, intervals = head.floats(40, 3), head.ints(28, 3)
    order = head.ints(64, 3)
    if sorted(order) != [1, 2, 3]:
        order = (1, 2, 3)
    by_mrcz = head.raw[104:108] == b"json" or any(one[:4] == b"MRCZ" for one in head.labels[:1])
    if tuple(intervals[:2]) == (0, 0) and by_mrcz:  # the mrcz package does not write them
        intervals = [head.size[order.index(axis)] for axis in (1, 2, 3)]
    start, origin = head.ints(16, 3), origin_of(head)
    axes = []
    for stored in (1, 0):
        axis = order[stored] - 1
        name = "xyz"[axis]
        size = cell[axis] / intervals[axis] if intervals[axis] > 0 and cell[axis] > 0 else math.nan
        if not math.isfinite(size):
            axes.append((name, 1.0, 0.0, None))
            continue
        begin = origin[axis]
        if begin == 0 or not math.isfinite(begin):
            begin = start[stored] * size
        axes.append((name, size / 10, begin / 10, "nm"))
    return axes


def origin_of(head):
    """Return ORIGIN with MRC2014's sign; in headers without MAP, it is at bytes 208 to 219."""
    version = head.ints(108)
    origin = head.floats(196, 3)
    if head.raw[208:211] != b"MAP" and version not in (20140, 20141):
        z, x, y = head.floats(208, 3)
        lengths = [abs(one) for one in (x, y, z)]
        plausible = all(one == 0 or 1e-6 < one < 1e9 for one in lengths) and any(lengths)
        newer = any(1e-6 < abs(one) < 1e9 for one in origin) or head.raw[212:216] == b"DDDD"
        newer = newer or head.raw[104:108] in (
            b"CCP4", b"MRCO", b"SERI", b"AGAR", b"FEI1", b"FEI2", b"HDF5"
        )  # fmt: skip
        if plausible and not newer and (x, y, z) != (0, -1, 0):
            origin = (x, y, z)
    inverted = head.flags is not None and not head.flags & 4 and version not in (20140, 20141)
    return [-one if inverted else one for one in origin]
