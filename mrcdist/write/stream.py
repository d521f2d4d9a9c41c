"""Stores to which a file can only be written from start to end: one task writes all of it."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from mrcdist.format.encode import NewHeader, encode_header
from mrcdist.plan.chunks import Chunks, block_boxes
from mrcdist.storage.location import Location, StoreCalls
from mrcdist.write.contents import refuse_mask
from mrcdist.write.encoded_block import EncodedBlock, window, windows
from mrcdist.write.errors import write_errors
from mrcdist.write.mrcz import compressed_sections
from mrcdist.write.place import check_place


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
    """Write a file, and auxiliary ones by their names, in this process.

    The header comes first, before statistics could be known: they are marked as undetermined. The
    file gets its name once it is whole. `runs` are contiguous blocks of whole chunks of the array,
    which are computed one after the other.
    """
    check_place(location, overwrite=overwrite)
    unfinished = location.sibling(f".{location.name}.mrcdist-write")
    fs, path = unfinished.filesystem()
    with write_errors(location):
        try:
            with fs.open(path, "wb") as file:
                file.write(encode_header(header, None))
                file.write(extended)
                for box in block_boxes(runs):
                    numbers = computed_run(array[tuple(slice(*span) for span in box)])
                    if header.codec:
                        file.writelines(compressed_sections(numbers, header))
                        continue
                    encoded = EncodedBlock(numbers, header.storage, header.byteorder, 0)
                    for low, high in windows(0, encoded.nbytes, window(numbers.nbytes)):
                        file.write(bytes(encoded.between(low, high)))
            for name, content in auxiliary.items():
                StoreCalls(location.sibling(name)).put("", content)
            fs.mv(path, location.filesystem()[1])
        except BaseException:
            if fs.exists(path):
                fs.rm_file(path)
            raise


class _Run:
    """Memory of a run, to which its chunks are copied as they are computed: none is kept."""

    def __init__(self, array: da.Array) -> None:
        self.numbers: npt.NDArray[Any] = np.empty(array.shape, array.dtype)

    def __setitem__(self, index: Any, chunk: npt.NDArray[Any]) -> None:
        refuse_mask(chunk)
        self.numbers[index] = chunk


def computed_run(array: da.Array) -> npt.NDArray[Any]:
    """Compute an array in threads; beside it, there is one chunk for each of them."""
    if array.npartitions == 1:
        numbers: npt.NDArray[Any] = array.compute(scheduler="threads")
        refuse_mask(numbers)
        return numbers
    run = _Run(array)
    da.store(array, run, lock=False, scheduler="threads")
    return run.numbers
