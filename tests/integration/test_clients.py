"""Clients that cannot connect or lose their workers."""

from __future__ import annotations

import gc
import time

import dask
import pytest
from distributed import Client

from mrcdist.batch.clusters import Cluster, ClusterOptions, connect
from mrcdist.errors import MrcdistError


@pytest.mark.parametrize("address", ["", "foo://b", "tls://127.0.0.1:9"])
def test_client_that_cannot_connect_is_closed(address):
    """Otherwise the garbage collector closes it in any thread, which can deadlock."""
    known = {id(client) for client in clients()}
    gc.disable()
    try:
        options = ClusterOptions(scheduler=address)
        with pytest.raises(MrcdistError), connect(options, log=lambda text: None):
            pass
        assert {client.status for client in clients() if id(client) not in known} <= {"closed"}
    finally:
        gc.enable()


def clients() -> list[Client]:
    # isinstance would ask weak references for the class of what is no longer there.
    return [each for each in gc.get_objects() if issubclass(type(each), Client)]


def test_any_error_of_the_check_for_workers_ends_the_computation(monkeypatch):
    """Not only `MrcdistError`, since a connection can fail in many ways."""

    def fail(self):
        raise OSError("comm closed")

    monkeypatch.setattr(Cluster, "check", fail)
    # As for a job, it is nobody's default: one that is closed within the block would stay it.
    with Client(
        processes=False,
        n_workers=1,
        threads_per_worker=1,
        dashboard_address=None,
        set_as_default=False,
    ) as client:
        cluster = Cluster(client, lambda text: None, [])
        with pytest.raises(OSError, match="comm closed"), cluster.running_dask():
            dask.delayed(time.sleep)(3).compute()
    assert dask.config.get("scheduler", None) is None
