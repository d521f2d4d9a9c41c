"""Parts of an object, and files with more parts than an upload may have."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import ArgumentError
from mrcdist.write.grid import split_run
from mrcdist.write.s3_parts import (
    S3Limits,
    encoded_at_a_time,
    joined_parts,
    packed_pieces,
    s3_grid,
    segments,
)

MIB, TB = 2**20, 10**12
LIMITS = S3Limits()


def assert_allowed(sizes: list[int], limits: S3Limits) -> None:
    """Check the limits of S3 for the parts of one upload."""
    assert 0 < len(sizes) <= limits.parts
    assert all(limits.least <= size <= limits.most for size in sizes[:-1])
    assert 0 < sizes[-1] <= limits.most


def assert_uploadable(grid, limits: S3Limits) -> None:
    spans = [grid.span(number) for number in range(grid.cells)]
    ranges = segments(grid, limits)
    if not ranges:
        assert_allowed([stop - start for start, stop in spans], limits)
        return
    assert [0, *(stop for _, stop in ranges)] == [*(start for start, _ in ranges), grid.size]
    for first, (start, stop) in zip(itertools.count(0, limits.parts), ranges, strict=False):
        own = spans[first : first + limits.parts]
        assert (own[0][0], own[-1][1]) == (start, stop)
        assert_allowed([b - a for a, b in own], limits)
    parts = joined_parts(0, [stop - start for start, stop in ranges], limits)
    copied = [piece for [piece] in parts]  # copied by the store, none has to be sent
    assert_allowed([stop - start for _, start, stop in copied], limits)
    whole = [(ranges[n][0] + start, ranges[n][0] + stop) for n, start, stop in copied]
    assert [0, *(stop for _, stop in whole)] == [*(start for start, _ in whole), grid.size]


@pytest.mark.parametrize(
    ("size", "mib"), [(10**8, 3), (10**11, 40), (TB, 256), (10 * TB, 512), (10 * TB, 6144)]
)
def test_files_of_up_to_10_tb_can_be_uploaded(size: int, mib: int) -> None:
    grid = s3_grid(1024, size, mib * MIB, LIMITS)
    assert_uploadable(grid, LIMITS)
    assert grid.step % (mib * MIB) == 0 or mib * MIB % grid.step == 0


@pytest.mark.parametrize("mib", [10, 16, 17.25, 24, 64, 128, 512])
def test_first_part_is_as_short_as_allowed_and_all_but_the_first_block_are_whole_parts(
    mib: float,
) -> None:
    block = int(mib * MIB)
    grid = s3_grid(1024, 1024 + 7 * block, block, LIMITS)
    assert grid.first == (5 * MIB if grid.step >= 10 * MIB else 1024 + grid.step)
    for start in range(1024 + block, grid.size, block):
        assert split_run(grid, start, start + block) == ((start, start + block), [])


def test_one_upload_is_enough_if_a_quarter_of_a_block_can_be_a_part() -> None:
    assert segments(s3_grid(1024, TB, 512 * MIB, LIMITS), LIMITS) == []
    assert len(segments(s3_grid(1024, 10 * TB, 512 * MIB, LIMITS), LIMITS)) == 60


@given(
    offset=st.integers(0, 100),
    size=st.integers(1, 20_000),
    block=st.integers(1, 3000),
    least=st.integers(5, 50),
    parts=st.integers(20, 60),
)
def test_every_file_is_uploaded_within_the_limits(
    offset: int, size: int, block: int, least: int, parts: int
) -> None:
    limits = S3Limits(least=least, most=50 * least, parts=parts, usual=3 * least, copied=8 * least)
    try:
        grid = s3_grid(offset, offset + size, block, limits)
    except ArgumentError:
        assert size > parts / 2 * min(limits.most, least * parts)
        return
    assert_uploadable(grid, limits)


def test_file_too_large_for_an_object_is_refused() -> None:
    with pytest.raises(ArgumentError, match="10,000 parts of at most 5") as error:
        s3_grid(1024, 60 * TB, 64 * MIB, LIMITS)
    assert error.value.code == "upload-parts-too-many"


@given(
    sections=st.integers(1, 30),
    section=st.integers(1, 2000),
    blocks=st.integers(1, 60),
    least=st.integers(1, 50),
    parts=st.integers(20, 120),
)
def test_compressed_blocks_need_at_most_as_many_objects_as_an_upload_has_parts(
    sections: int, section: int, blocks: int, least: int, parts: int
) -> None:
    limits = S3Limits(least=least, parts=parts)
    try:
        pieces = packed_pieces(sections * section, sections, blocks, limits)
    except ArgumentError:
        assert blocks >= parts // 2
        return
    assert blocks * pieces.number < parts
    assert pieces.nbytes <= max((sections * (section + 16) + 1) // 2, least)
    # Together with the least size of the last one, they hold the largest compressed block.
    most = sections * (section + 16)
    assert pieces.number * pieces.nbytes + least > most


@given(
    st.integers(0, 12),
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(0, 20),
)
def test_joined_parts_contain_header_and_objects_once_and_in_order(
    start: int, sizes: list[int], least: int, more: int
) -> None:
    limits = S3Limits(least=least, copied=2 * least, most=100, parts=2 * len(sizes) + 1 + more)
    parts = joined_parts(start, sizes, limits)
    pieces = [piece for part in parts for piece in part]
    joined = [(number, at) for number, low, high in pieces for at in range(low, high)]
    whole = [(None, start), *enumerate(sizes)]
    assert joined == [(number, at) for number, size in whole for at in range(size)]
    lengths = [sum(high - low for _, low, high in part) for part in parts]
    assert_allowed(lengths, limits)


@pytest.mark.parametrize(
    ("block", "part", "number"),
    [(8, 8, 0), (16, 16, 0), (32, 8, 1), (64, 8, 3), (64, 16, 1), (128, 16, 3), (512, 16, 8)],
)
def test_concurrently_encoded_parts_take_at_most_half_of_the_block(
    block: int, part: int, number: int
) -> None:
    assert encoded_at_a_time(block * MIB, part * MIB) == number
