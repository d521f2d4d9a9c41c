"""Processes that are forked while a copy of a whole file is fetched."""

from __future__ import annotations

import multiprocessing
import os
import threading

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import mrcdist
from tests.support.mrc_files import counting, mrc_bytes

NUMBERS = counting((6, 4, 5), "uint16")


class Held(MemoryFileSystem):
    """A store that sends a file once the test permits it."""

    protocol = "held"
    requested = threading.Event()
    permitted = threading.Event()

    def get_file(self, *args, **options):
        self.requested.set()
        self.permitted.wait()
        super().get_file(*args, **options)


def _read_in_child(url):
    Held.permitted.set()
    np.testing.assert_array_equal(mrcdist.plan_mrc(url).source[...], NUMBERS)


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="requires os.register_at_fork")
def test_process_forked_while_a_copy_is_fetched_fetches_its_own():
    fsspec.register_implementation("held", Held, clobber=True)
    held = "held://forked/any.mrc"
    fsspec.filesystem("memory").pipe_file(Held._strip_protocol(held), mrc_bytes(NUMBERS))
    url = f"simplecache::{held}"
    fetching = threading.Thread(target=mrcdist.plan_mrc, args=(url,), daemon=True)
    fetching.start()
    assert Held.requested.wait(60)
    child = multiprocessing.get_context("fork").Process(target=_read_in_child, args=(url,))
    child.start()
    child.join(60)
    exitcode = child.exitcode
    child.kill()  # if it hangs
    Held.permitted.set()
    fetching.join(60)
    assert exitcode == 0
