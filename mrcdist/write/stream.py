"""Files in stores that support only sequential writing: one task writes the whole file."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from mrcdist.format.encode import NewHeader, encode_header
from mrcdist.plan.chunks import Chunks, block_boxes
from mrcdist.storage.location import Location
from mrcdist.storage.store_calls import StoreCalls
from mrcdist.write.checks import check_destination
from mrcdist.write.contents import refuse_mask
from mrcdist.write.encoded_block import EncodedBlock, window, windows
from mrcdist.write.errors import write_errors
from mrcdist.write.mrcz import compressed_sections


def stream(
    location: Location,
    header: NewHeader,
    extended: bytes,
    array: da.Array,
    runs: Chunks,
    auxiliary: dict[str, bytes],
    *,
    overwrite: bool,
) -> None:
    """Write a file, and auxiliary files by name, in this process.

    The header is written first, so its statistics are marked as undetermined. The file gets its
    name once it is complete. `runs` are contiguous blocks of whole chunks of the array, which are
    computed one after the other.
    """
    check_destination(location, overwrite=overwrite)
    unfinished = location.sibling(f".{location.name}.mrcdist-write")
    fs, path = unfinished.filesystem()
    with write_errors(location):
        try:
            with fs.open(path, "wb") as file:
                file.write(encode_header(header, None))
                file.write(extended)
                for box in block_boxes(runs):
                    block = compute_run(array[tuple(slice(*span) for span in box)])
                    if header.codec:
                        file.writelines(compressed_sections(block, header))
                        continue
                    encoded = EncodedBlock(block, header.storage, header.byteorder, 0)
                    for low, high in windows(0, encoded.nbytes, window(block.nbytes)):
                        file.write(bytes(encoded.between(low, high)))
            for name, content in auxiliary.items():
                StoreCalls(location.sibling(name)).put("", content)
            fs.mv(path, location.filesystem()[1])
        except BaseException:
            if fs.exists(path):
                fs.rm_file(path)
            raise


class _Run:
    """Memory of a run, to which chunks are copied once they are computed."""

    def __init__(self, array: da.Array) -> None:
        self.values: npt.NDArray[Any] = np.empty(array.shape, array.dtype)

    def __setitem__(self, index: Any, chunk: npt.NDArray[Any]) -> None:
        refuse_mask(chunk)
        self.values[index] = chunk


def compute_run(array: da.Array) -> npt.NDArray[Any]:
    """Compute an array in threads, with at most one chunk per thread in additional memory."""
    if array.npartitions == 1:
        values: npt.NDArray[Any] = array.compute(scheduler="threads")
        refuse_mask(values)
        return values
    run = _Run(array)
    da.store(array, run, lock=False, scheduler="threads")
    return run.values
