"""Fuzzing of headers: each damaged file gives the right array, a warning or an `MrcdistError`.

Cases are numbered: the same number always creates the same file, and failures state it. Arrays are
compared with what numpy makes of the file's bytes according to the plan, and the plan with the
fields of the header.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import math
import random
import struct
import tracemalloc
import warnings
from functools import cache

import blosc
import numpy as np
import pytest

import mrcdist
from mrcdist.errors import MrcdistError, MrcdistWarning
from mrcdist.validate.checks import check_file
from tests.support.mrc_files import header_bytes

BITS = {0: 8, 1: 16, 2: 32, 3: 32, 4: 64, 6: 16, 12: 16, 16: 24, 101: 4}
INTS = (*range(0, 40, 4), 64, 68, 72, 88, 92, 108, 152, 156, 220)
FLOATS = (*range(40, 64, 4), 76, 80, 84, 196, 200, 204, 216)
SHORTS = (128, 130)
# Bytes that determine where the pixels are and what they mean: sizes, mode, NSYMBT, IMOD's flags.
CRUCIAL = (*range(16), *range(92, 96), *range(152, 160))
EXTREME_INTS = (0, 1, -1, 2, 3, 4, 5, 7, 16, 101, 127, 128, 255, 401, 630, 2002, 32767, 65535)
EXTREME_INTS += (2**24, 2**31 - 1, -(2**31), 2**31 - 8, 1146047817)
EXTREME_FLOATS = (0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 3.4e38, 1e-45, 127.5)

# A reader may hold a decoded copy (of 4-bit data: twice the bytes) and the pieces that it came
# from; a decompressor's pieces have 4 MiB.
ALLOWED_BYTES = 9 * 2**20
# The size of a stream is only known after decompression: its header is trusted up to this limit.
ALLOWED_BYTES_OF_STREAMS = 64 * 2**20
ALLOWED_COPIES = 8


def payload_bytes(mode, nx, ny, nz):
    row = (nx + 1) // 2 if mode == 101 else nx * BITS[mode] // 8
    return row * ny * nz


def records(kind, order):
    """Return an extended header with enough records for any of the files."""
    if kind == "CCP4":
        return b"X,Y,Z".ljust(80) * 2
    if kind in ("FEI1", "FEI2"):
        size = {"FEI1": 768, "FEI2": 888}[kind]
        return struct.pack(order + "i", size).ljust(size, b"\1") * 12
    return bytes(range(12)) * 12 if kind else b""


@cache
def valid_files():
    """Return (name, byte order, bytes) of all modes and extended headers in both byte orders."""
    files = []
    rng = np.random.default_rng(1)
    sizes = itertools.cycle([(5, 4, 3), (8, 1, 1), (1, 1, 6), (7, 9, 2), (16, 16, 4), (3, 2, 12)])
    kinds = ("", "4-bit", "CCP4", "FEI1", "FEI2", "SERI", "AGAR")
    for order, kind, mode in itertools.product("<>", kinds, BITS):
        nx, ny, nz = next(sizes)
        extended = records("" if kind == "4-bit" else kind, order)
        head = header_bytes(
            nx=nx,
            ny=ny,
            nz=nz,
            mode=0 if kind == "4-bit" else mode,
            byteorder=order,
            nsymbt=len(extended),
            exttyp=b"" if kind == "4-bit" else kind.encode(),
            cell=(50.0, 40.0, 30.0),
            nint=2,
            nreal=1,
            ispg=rng.choice([0, 1, 401]),
            imod_flags=16 if kind == "4-bit" else None,
        )
        pixels = rng.bytes(payload_bytes(0 if kind == "4-bit" else mode, nx, ny, nz))
        files.append((f"mode {mode} {kind} {order}", order, head + extended + pixels))
    return files


@cache
def mrcz_files():
    """Return (name, byte order, bytes) of MRCZ files, whose sections are blosc chunks."""
    files = []
    for codec, name in ((1, "blosclz"), (2, "lz4"), (5, "zlib"), (6, "zstd")):
        for order, mode in itertools.product("<>", (0, 1, 2)):
            head = header_bytes(nx=16, ny=8, nz=3, mode=1000 * codec + mode, byteorder=order)
            section = bytes(range(128)) * (BITS[mode] // 8)
            chunk = blosc.compress(section, typesize=BITS[mode] // 8, cname=name)
            files.append((f"MRCZ {name} mode {mode} {order}", order, head + 3 * chunk))
    return files


def damage(rng, raw, order):
    """Apply one to three mutations; return their description and the damaged bytes."""
    raw = bytearray(raw)
    mutations = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(8)
        if kind == 0:
            at, bit = rng.randrange(min(len(raw), 1024 + 64)), rng.randrange(8)
            raw[at] ^= 1 << bit
            mutations.append(f"bit {bit} of byte {at}")
        elif kind == 1:
            at, value = rng.choice(CRUCIAL), rng.randrange(256)
            raw[at] = value
            mutations.append(f"byte {at} = {value}")
        elif kind in (2, 3):
            at, value = rng.choice(INTS), rng.choice(EXTREME_INTS)
            if rng.random() < 0.2:
                value = len(raw) - rng.choice((0, 1, 1024, 1025))
            struct.pack_into(rng.choice((order, order, "<", ">")) + "i", raw, at, value)
            mutations.append(f"integer at {at} = {value}")
        elif kind == 4:
            at, value = rng.choice(FLOATS), rng.choice(EXTREME_FLOATS)
            struct.pack_into(order + "f", raw, at, value)
            mutations.append(f"float at {at} = {value}")
        elif kind == 5:
            at, value = rng.choice(SHORTS), rng.choice((-1, 0, 1, 32767, -32768, 10))
            struct.pack_into(order + "h", raw, at, value)
            mutations.append(f"short at {at} = {value}")
        elif kind == 6:
            new = rng.choice((b"\x44\x44", b"\x11\x11", b"\x44\x41", b"\0\0", rng.randbytes(4)))
            at = rng.choice((104, 208, 212, 212))
            raw[at : at + len(new)] = new
            mutations.append(f"bytes {new!r} at {at}")
        elif rng.random() < 0.7:
            size = rng.choice((0, 1, 1023, 1024, 1025, rng.randrange(len(raw))))
            del raw[size:]
            raw += bytes(max(1024 - size, 0) * (rng.random() < 0.5))
            mutations.append(f"cut to {len(raw)} bytes")
            if len(raw) < 1024:
                break
        else:
            count = rng.choice((1, 100, 5000))
            raw += bytes(count)
            mutations.append(f"{count} trailing bytes")
    return "; ".join(mutations), bytes(raw)


def expected_array(raw, plan):
    """Decode the file's bytes with numpy alone, according to the plan."""
    header = plan.header
    words = struct.unpack(header.byteorder + "4i", raw[:16])
    truncated = header.ny < words[1] and header.nz == 1  # a single image without its last rows
    assert words == (header.nx, words[1] if truncated else header.ny, header.nz, header.mode)
    (nsymbt,) = struct.unpack(header.byteorder + "i", raw[92:96])
    assert header.nsymbt in (nsymbt, 0)  # 0 if it does not exist
    mode, order, nx = header.mode % 1000, header.byteorder, header.nx
    if header.mode >= 1000:
        data, at = b"", header.data_offset
        for _ in range(plan.source.parts[0].frames):
            (size,) = struct.unpack_from("<i", raw, at + 12)
            data += blosc.decompress(raw[at : at + size])
            at += size
    else:
        data = raw[header.data_offset :]
    halved = mode == 0 and header.packing in ("flag", "label")
    packed = mode == 101 or halved
    row = (nx + 1) // 2 if mode == 101 else nx * (BITS | {7: 32, 8: 32})[mode] // 8
    assert not truncated or header.ny == len(data) // row
    frames = math.prod(plan.layout.navigation_shape)
    pixels = np.frombuffer(data, "u1", frames * header.ny * row).reshape(-1, row)
    if packed:
        pixels = np.stack([pixels & 15, pixels >> 4], -1).reshape(len(pixels), 2 * row)
        return pixels[:, : nx * (2 if halved else 1)].reshape(plan.shape)
    stored = {0: plan.dtype.str, 1: "i2", 2: "f4", 3: "i2", 4: "c8", 6: "u2", 7: "i4", 8: "u4"}
    stored |= {12: "f2", 16: "u1"}
    numbers = pixels.view(np.dtype(stored[mode]).newbyteorder(order))
    if mode == 3:
        pairs = numbers.astype("f4").reshape(-1, 2)
        return (pairs[:, 0] + 1j * pairs[:, 1]).reshape(plan.shape)
    return numbers.reshape(plan.shape)


def size_is_as_announced(raw, header):
    """Return whether the file consists of header, extended header and data only."""
    row = (header.nx + 1) // 2 if header.mode == 101 else header.nx * BITS[header.mode] // 8
    return 1024 + header.nsymbt + row * header.ny * header.nz == len(raw)


def replace(path, raw):
    path.unlink(missing_ok=True)  # truncating to 0 bytes is slow on some filesystems
    path.write_bytes(raw)


def run_case(number, path):
    """Create a case, read it in every way, and return the outcome."""
    rng = random.Random(number)
    files = mrcz_files() if number % 16 == 15 else valid_files()
    name, order, raw = rng.choice(files)
    mutations, raw = damage(rng, raw, order)
    wrap = {13: gzip.compress, 14: bz2.compress}.get(number % 16)
    replace(path, wrap(raw) if wrap else raw)
    options = {"allow_truncated": rng.random() < 0.3, "endianness": rng.choice((None, "<", ">"))}
    try:
        tracemalloc.reset_peak()  # no effect unless allocations are traced
        before = tracemalloc.get_traced_memory()[0]
        outcome = check_outcome(
            raw, path, options, thorough=number % 10 == 0, size_known=wrap is None
        )
        peak = tracemalloc.get_traced_memory()[1] - before
        allowed = ALLOWED_BYTES_OF_STREAMS if wrap else ALLOWED_BYTES
        assert peak <= allowed + ALLOWED_COPIES * len(raw), f"{peak} bytes were allocated"
        check_file(raw[:1024], file_size=len(raw), read=lambda start, stop: raw[start:stop])
    except Exception as error:
        error.add_note(f"case {number}: {name}; {mutations}; {options}")
        raise
    return outcome


def check_outcome(raw, path, options, *, thorough, size_known):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            plan = mrcdist.plan_mrc(path, **options)
            array = plan.source[...]
            if thorough:
                [eager] = mrcdist.read_mrc(path, distributed=False, **options)
                [lazy] = mrcdist.read_mrc(path, **options)
                json.dumps(eager["original_metadata"], allow_nan=False)
                plan.explain()
        except MrcdistError as error:
            return type(error).__name__
    assert {warning.category for warning in caught} <= {MrcdistWarning}
    expected = expected_array(raw, plan)
    np.testing.assert_array_equal(array, expected)
    assert array.dtype == plan.dtype
    assert array.dtype.isnative
    if thorough:
        np.testing.assert_array_equal(eager["data"], expected)
        np.testing.assert_array_equal(lazy["data"].compute(scheduler="synchronous"), expected)
    if caught:
        return "warning"
    if size_known and plan.header.mode < 1000:
        assert size_is_as_announced(raw, plan.header), "no warning about missing or trailing bytes"
    return "array"


@pytest.fixture
def traced(tmp_path):
    """Trace allocations, after importing everything that is imported on first use."""
    plain, compressed = valid_files()[0][2], mrcz_files()[0][2]
    for raw in (plain, gzip.compress(plain), bz2.compress(plain), compressed):
        replace(tmp_path / "first.mrc", raw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MrcdistWarning)
            [ds] = mrcdist.read_mrc(tmp_path / "first.mrc")
        ds["data"].compute(scheduler="synchronous")
    tracemalloc.start()
    yield
    tracemalloc.stop()


def run_cases(numbers, path):
    outcomes = [run_case(number, path) for number in numbers]
    return {outcome: outcomes.count(outcome) for outcome in set(outcomes)}


def test_damaged_header_gives_the_right_array_or_an_mrcdist_error(tmp_path):
    counts = run_cases(range(600), tmp_path / "a.mrc")
    # All kinds of outcome occur: a fuzzer that only ever sees errors proves nothing.
    assert {"array", "warning", "FormatError", "TruncatedFileError"} <= counts.keys(), counts
    assert min(counts["array"], counts["warning"]) > 100, counts


@pytest.mark.usefixtures("traced")
def test_damaged_header_allocates_no_more_than_the_file_size_justifies(tmp_path):
    run_cases(range(2500, 2700), tmp_path / "a.mrc")


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.usefixtures("traced")
def test_120_000_damaged_headers_give_the_right_array_or_an_mrcdist_error(tmp_path, request):
    if "slow" not in request.config.getoption("markexpr"):
        pytest.skip("takes minutes; run with -m slow")
    print(run_cases(range(3000, 123_000), tmp_path / "a.mrc"))


def test_damage_outside_crucial_header_fields_never_changes_the_pixels(tmp_path):
    """If sizes, mode and NSYMBT are right and the file is complete, other bytes may be anything."""
    path = tmp_path / "a.mrc"
    noncrucial = [at for at in range(1024) if at not in CRUCIAL]
    for number in range(200):
        rng = random.Random(number)
        name, order, raw = rng.choice(valid_files())
        mutated = bytearray(raw)
        for at in rng.sample(noncrucial, rng.choice((1, 10, 100, len(noncrucial)))):
            mutated[at] = rng.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MrcdistWarning)
            replace(path, raw)
            intact = mrcdist.plan_mrc(path, mode0="int8")
            pixels = intact.source[...].tobytes()
            replace(path, mutated)
            plan = mrcdist.plan_mrc(path, mode0="int8")
        assert plan.header.byteorder == order, f"{number}: {name}"
        assert plan.dtype == intact.dtype
        assert plan.source[...].tobytes() == pixels, f"{number}: {name}"
