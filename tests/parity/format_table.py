"""Print a Markdown table of how MRC readers handle one file of each kind.

Run `python -m tests.parity.format_table` in the root of the repository: it builds the files byte by
byte, reads each with every installed reader (this project, mrcfile, rosettasciio, LiberTEM), and
compares the result with the array stored in the file.

- right: the stored array, apart from axes of length 1; for a damaged file, a refusal;
- wrong shape, wrong array: other axes or numbers, without an error;
- refused: the reader raises an error on purpose;
- error: an unintended exception in the reader or in a library that it calls.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import gzip
import importlib.metadata
import importlib.util
import io
import linecache
import os
import struct
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.support.mrc_files import MODES, counting, header_bytes, mrc_bytes

SHAPE = (6, 4, 5)


@dataclass(frozen=True)
class Row:
    """A file, and the array stored in it, or None if readers must refuse it."""

    raw: bytes
    expected: np.ndarray | None
    may_refuse: bool = False
    """Whether a refusal counts as right, too."""
    byteorder: Literal["<", ">"] = "<"
    """Passed to the readers that do not detect it."""
    name: str = "a.mrc"
    size: int | None = None
    """Size of the file if it is longer than `raw`; the rest is a hole that reads as zeros."""
    sections: tuple[int, ...] | None = None
    """Sections that `expected` consists of, if not all."""

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.raw)
        if self.size is not None:
            os.truncate(path, self.size)
        return path


def _patched(raw: bytes, at: int, new: bytes) -> bytes:
    return raw[:at] + new + raw[at + len(new) :]


def _head(*, nx: int, ny: int, nz: int, **fields: Any) -> bytes:
    """Return a header of a stack of images, with MZ = 1 as defined by MRC2014."""
    return header_bytes(**{"nx": nx, "ny": ny, "nz": nz, "intervals": (nx, ny, 1), **fields})


def _stack(data: np.ndarray, **fields: Any) -> bytes:
    _, ny, nx = data.shape
    return mrc_bytes(data, **{"intervals": (nx, ny, 1), **fields})


def _modes() -> dict[str, Row]:
    rows = {}
    for dtype, mode in sorted(MODES.items(), key=lambda item: item[1]):
        data = counting(SHAPE, dtype)
        for order, name in (("<", "little-endian"), (">", "big-endian")):
            # Values from 0 to 99 would be the same if a reader took int8 for uint8.
            signed = data - 50 if mode == 0 else data
            rows[f"mode {mode}, {dtype}, {name}"] = Row(
                _stack(signed, byteorder=order), signed, byteorder=order
            )
    pairs = np.arange(240, dtype="i2").reshape(6, 4, 5, 2) - 120
    numbers = (pairs[..., 0] + 1j * pairs[..., 1]).astype("c8")
    for order, name in (("<", "little-endian"), (">", "big-endian")):
        head = _head(nx=5, ny=4, nz=6, mode=3, byteorder=order)
        raw = head + pairs.astype(order + "i2").tobytes()
        rows[f"mode 3, complex of int16, {name}"] = Row(raw, numbers, byteorder=order)
    stored = np.arange(256, dtype="u1")
    unsigned = _head(nx=8, ny=4, nz=8, mode=0, statistics=(0, 255, 127, 74))
    rows["mode 0, uint8 according to the statistics"] = Row(
        unsigned + stored.tobytes(), stored.reshape(8, 4, 8)
    )
    imod = _head(nx=8, ny=4, nz=8, mode=0, imod_flags=0)
    rows["mode 0, uint8 according to IMOD's stamp"] = Row(
        imod + stored.tobytes(), stored.reshape(8, 4, 8)
    )
    colours = stored[:240].reshape(4, 4, 5, 3)
    rows["mode 16, RGB"] = Row(_head(nx=5, ny=4, nz=4, mode=16) + colours.tobytes(), colours)
    nibbles = np.stack([stored & 15, stored >> 4], -1).reshape(8, 4, 16)
    rows["mode 101, 4-bit, even width"] = Row(
        _head(nx=16, ny=4, nz=8, mode=101) + stored.tobytes(), nibbles
    )
    rows["mode 101, 4-bit, odd width"] = Row(
        _head(nx=15, ny=4, nz=8, mode=101) + stored.tobytes(), nibbles[..., :15]
    )
    rows["4-bit in mode 0 (IMOD)"] = Row(
        _head(nx=8, ny=4, nz=8, mode=0, imod_flags=16) + stored.tobytes(), nibbles
    )
    return rows


def _headers() -> dict[str, Row]:
    i2, f4 = counting(SHAPE, "int16"), counting(SHAPE, "float32")
    stack = {"ispg": 401, "intervals": (5, 4, 3)}
    fei = b"".join(struct.pack("<i", 888).ljust(888, b"\0") for _ in range(13)).ljust(15360, b"\0")
    thirteen = counting((13, 4, 5), "uint16")
    return {
        "stamp 44 00": Row(_stack(i2, stamp=b"\x44\0"), i2),
        "stamp 44 11": Row(_stack(i2, stamp=b"\x44\x11"), i2),
        "stamp all zeros, big-endian data": Row(
            _stack(i2, byteorder=">", stamp=bytes(4)), i2, byteorder=">"
        ),
        "stamp big-endian, data little-endian": Row(_stack(f4, stamp=b"\x11\x11"), f4),
        "MAP identifier missing": Row(_stack(i2, map_word=bytes(4)), i2),
        "one section": Row(_stack(i2[:1]), i2[:1]),
        "no sections": Row(_head(nx=5, ny=4, nz=0, mode=1), i2[:0]),
        "MX = MY = MZ = 0": Row(_stack(i2, intervals=(0, 0, 0)), i2),
        "MZ = NZ, ISPG = 0": Row(_stack(i2, intervals=(5, 4, 6)), i2),
        "one volume": Row(_stack(f4, ispg=1, intervals=(5, 4, 6)), f4),
        "MAPC, MAPR, MAPS = 3, 1, 2": Row(
            _stack(i2, mapcrs=(3, 1, 2), ispg=1, intervals=(4, 6, 5)), i2
        ),
        "volume stack": Row(_stack(f4, **stack), f4.reshape(2, 3, 4, 5)),
        "volume stack, big-endian": Row(
            _stack(f4, byteorder=">", **stack), f4.reshape(2, 3, 4, 5), byteorder=">"
        ),
        "volume stack, MZ = 0": Row(_stack(f4, ispg=401, intervals=(5, 4, 0)), f4),
        "volume stack, MZ does not divide NZ": Row(_stack(f4, ispg=401, intervals=(5, 4, 4)), f4),
        "extended header of text": Row(
            _stack(i2, extended=b"X,Y,Z".ljust(160), exttyp=b"CCP4"), i2
        ),
        "extended header FEI2, padded": Row(
            _stack(thirteen, extended=fei, exttyp=b"FEI2"), thirteen
        ),
        "extended header of old FEI files": Row(_stack(i2, extended=bytes(131072)), i2),
    }


def _damage() -> dict[str, Row]:
    i2 = counting(SHAPE, "int16")
    intact = _stack(i2)
    return {
        "extended header declared but missing": Row(
            _patched(intact, 92, struct.pack("<i", 1024)), i2
        ),
        "trailing bytes after the data": Row(intact + bytes(100), i2),
        "truncated by 5 pixels": Row(intact[:-10], None),
        "NSYMBT = −1": Row(_patched(intact, 92, struct.pack("<i", -1)), i2, may_refuse=True),
        "unknown mode": Row(_patched(intact, 12, struct.pack("<i", 7)), None),
        "4 kB of zeros": Row(bytes(4096), None),
        "a text file": Row(b"frame;x;y\n" * 500, None),
    }


def _packages() -> dict[str, Row]:
    i2 = counting(SHAPE, "int16")
    intact = _stack(i2)
    big = _head(nx=2048, ny=2048, nz=300, mode=1)
    ends = np.zeros((2, 2048, 2048), "i2")
    ends[0, 0, :4] = 1, 2, 3, 4
    rows = {
        "larger than 2 GiB": Row(
            big + struct.pack("<4h", 1, 2, 3, 4),
            ends,
            size=1024 + 300 * 2048 * 2048 * 2,
            sections=(0, 299),
        ),
        "gzip": Row(gzip.compress(intact, mtime=0), i2, name="a.mrc.gz"),
        "bzip2": Row(bz2.compress(intact), i2, name="a.mrc.bz2"),
    }
    if importlib.util.find_spec("blosc"):
        import blosc

        for codec, name in ((2, "lz4"), (6, "zstd")):
            # As written by the mrcz package: MZ is 0 if the file contains one array.
            head = _head(nx=5, ny=4, nz=6, mode=1000 * codec + 1, intervals=(5, 4, 0))
            chunks = [blosc.compress(s.tobytes(), typesize=2, cname=name) for s in i2]
            rows[f"MRCZ, {name}"] = Row(head + b"".join(chunks), i2, name="a.mrcz")
    return rows


ROWS = {**_modes(), **_headers(), **_damage(), **_packages()}


def read_mrcdist(path: Path, row: Row) -> Any:
    import mrcdist

    [ds] = mrcdist.read_mrc(path)
    return _sections(ds["data"], row)


def read_mrcfile(path: Path, row: Row) -> Any:
    import mrcfile

    with (mrcfile.mmap if row.sections else mrcfile.open)(path) as file:
        return np.array(_sections(file.data, row))


def read_rosettasciio(path: Path, row: Row) -> Any:
    import rsciio.mrc

    if path.suffix == ".mrcz":
        import rsciio.mrcz

        [ds] = rsciio.mrcz.file_reader(str(path))
    else:
        [ds] = rsciio.mrc.file_reader(
            str(path), lazy=row.sections is not None, endianness=row.byteorder
        )
    return _sections(ds["data"], row)


def read_libertem(path: Path, row: Row) -> Any:
    from libertem.api import Context
    from libertem.executor.inline import InlineJobExecutor
    from libertem.udf.raw import PickUDF

    context = Context(executor=InlineJobExecutor())
    dataset = context.load("mrc", path=str(path))
    wanted = np.zeros(tuple(dataset.shape.nav), bool)
    wanted[slice(None) if row.sections is None else list(row.sections)] = True
    return context.run_udf(dataset, PickUDF(), roi=wanted)["intensity"].data


# Package → its title in the table and its reader.
READERS: dict[str, tuple[str, Callable[[Path, Row], Any]]] = {
    "mrcdist": ("this project", read_mrcdist),
    "mrcfile": ("mrcfile", read_mrcfile),
    "rsciio": ("rosettasciio", read_rosettasciio),
    "libertem": ("LiberTEM", read_libertem),
}


def _sections(data: Any, row: Row) -> Any:
    return data if row.sections is None else data[list(row.sections)]


def judge(package: str, path: Path, row: Row) -> str:
    """Read a file and return one of the verdicts in the docstring of this module."""
    reader = READERS[package][1]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            array = np.asarray(reader(path, row))
        except Exception as error:  # noqa: BLE001 any exception is a verdict
            if not _on_purpose(error, package):
                return "error"
            return "right" if row.expected is None or row.may_refuse else "refused"
    if row.expected is None:
        return "wrong array"
    if array.dtype.names:  # colours as fields
        array = np.stack([array[name] for name in array.dtype.names], -1)
    same_values = array.size == row.expected.size and np.array_equal(
        array.reshape(-1), row.expected.reshape(-1)
    )
    if not same_values:
        return "wrong array"
    same_shape = np.squeeze(array).shape == np.squeeze(row.expected).shape
    return "right" if same_shape else "wrong shape"


def _on_purpose(error: BaseException, package: str) -> bool:
    """Return whether an error comes from a `raise` in the package itself."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    inside = Path(last.filename).is_relative_to(Path(spec.origin).parent)
    return inside and linecache.getline(last.filename, last.lineno or 0).strip().startswith("raise")


def installed() -> list[str]:
    """Return the packages of the installed readers."""
    return [package for package in READERS if importlib.util.find_spec(package)]


def results(folder: Path) -> dict[str, dict[str, str]]:
    """Return the verdicts: row → package → verdict."""
    verdicts: dict[str, dict[str, str]] = {}
    for name, row in ROWS.items():
        path = row.write(folder)
        verdicts[name] = {package: judge(package, path, row) for package in installed()}
        path.unlink()
    return verdicts


def markdown(verdicts: dict[str, dict[str, str]]) -> str:
    """Format the verdicts as a Markdown table."""
    packages = list(next(iter(verdicts.values())))
    lines = [
        "| file | " + " | ".join(_titled(package) for package in packages) + " |",
        "|---" * (len(packages) + 1) + "|",
    ]
    for name, by_package in verdicts.items():
        row = [by_package[package] for package in packages]
        lines.append(f"| {name} | {' | '.join(row)} |")
    totals = [
        f"{sum(row[package] == 'right' for row in verdicts.values())} of {len(verdicts)}"
        for package in packages
    ]
    return "\n".join([*lines, f"| **right** | {' | '.join(totals)} |"])


def _titled(package: str) -> str:
    name = READERS[package][0]
    return name if package == "mrcdist" else f"{name} {importlib.metadata.version(name)}"


def main() -> None:
    """Write the files, read them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, help="where to write the files (default: a temporary folder)"
    )
    folder = parser.parse_args().folder
    if folder is not None:
        print(markdown(results(folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        print(markdown(results(Path(temporary))))


if __name__ == "__main__":
    main()
