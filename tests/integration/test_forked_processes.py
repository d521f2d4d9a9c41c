"""Copies of whole files: a process forked while one is being fetched fetches its own."""

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
    """A store that sends files when the test permits it."""

    protocol = "held"
    begun = threading.Event()
    let = threading.Event()

    def get_file(self, *args, **options):
        self.begun.set()
        self.let.wait()
        super().get_file(*args, **options)


def _read_in_child(url):
    Held.let.set()
    np.testing.assert_array_equal(mrcdist.plan_mrc(url).source[...], NUMBERS)


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="there is no fork")
def test_process_forked_while_a_copy_is_fetched_reads():
    fsspec.register_implementation("held", Held, clobber=True)
    held = "held://forked/any.mrc"
    fsspec.filesystem("memory").pipe_file(Held._strip_protocol(held), mrc_bytes(NUMBERS))
    url = f"simplecache::{held}"
    fetching = threading.Thread(target=mrcdist.plan_mrc, args=(url,), daemon=True)
    fetching.start()
    assert Held.begun.wait(60)
    child = multiprocessing.get_context("fork").Process(target=_read_in_child, args=(url,))
    child.start()
    child.join(60)
    exitcode = child.exitcode
    child.kill()  # where it hangs
    Held.let.set()
    fetching.join(60)
    assert exitcode == 0
