"""Examples of Zarr and xarray in the documentation."""

from __future__ import annotations

import doctest

import pytest

from mrcdist import zarr_api
from tests.docs.pages import PAGES, blocks

pytest.importorskip("zarr", minversion="3", reason="stores need zarr 3")

PAGE = PAGES["docs/howto/zarr-xarray.md"]
EXAMPLES = {
    "page": "\n".join(block.code for block in blocks(PAGE, "pycon")),
    **{
        name: getattr(zarr_api, name).__doc__
        for name in ("zarr_store", "write_references", "MRCParser")
    },
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_zarr_examples_give_the_output_shown(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], {}, name, None, 0)
    assert test.examples
    output: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=output.append).failed == 0, output
