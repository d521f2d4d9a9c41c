"""Stores that can only take a file from its start to its end: one task writes all of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import dask.array as da

from mrcdist.format.encode import NewHeader, encode_header
from mrcdist.storage.location import Location
from mrcdist.write.contents import refuse_mask
from mrcdist.write.encoded_block import EncodedBlock, window, windows
from mrcdist.write.errors import write_errors
from mrcdist.write.mrcz import compressed_sections
from mrcdist.write.place import check_place

__all__ = ["stream"]


def stream(
    location: Location,
    header: NewHeader,
    extended: bytes,
    array: da.Array,
    auxiliary: dict[str, bytes],
    *,
    overwrite: bool,
) -> None:
    """Write a file in this process, block by block.

    The header comes first, before statistics could be known: they are marked as undetermined. The
    file gets its name once it is whole.

    Parameters
    ----------
    location : Location
    header : NewHeader
    extended : bytes
    array : dask.array.Array, shape (sections, rows, columns)
        In chunks of whole frames.
    auxiliary : dict of str to bytes
        Small files beside it, by name.
    overwrite : bool
    """
    check_place(location, overwrite=overwrite)
    unfinished = location.sibling(f".{location.name}.mrcdist-write")
    fs, path = unfinished.filesystem()
    with write_errors(location):
        try:
            with fs.open(path, "wb") as file:
                file.write(encode_header(header, None))
                file.write(extended)
                for block in _blocks(array):
                    numbers = block.compute(scheduler="threads")
                    refuse_mask(numbers)
                    if header.codec:
                        file.writelines(compressed_sections(numbers, header))
                        continue
                    encoded = EncodedBlock(numbers, header.storage, header.byteorder, 0)
                    for low, high in windows(0, encoded.nbytes, window(numbers.nbytes)):
                        file.write(bytes(encoded.between(low, high)))
            for name, content in auxiliary.items():
                beside_fs, beside = location.sibling(name).filesystem()
                beside_fs.pipe_file(beside, content)
            fs.mv(path, location.filesystem()[1])
        except BaseException:
            if fs.exists(path):
                fs.rm_file(path)
            raise


def _blocks(array: da.Array) -> Sequence[da.Array]:
    return [array.blocks[index] for index in itertools.product(*map(range, array.numblocks))]
