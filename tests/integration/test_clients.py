"""Dask clients that cannot connect or that lose their workers."""

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
    """If the garbage collector closed it, in any thread, it could deadlock."""
    known = {id(client) for client in clients()}
    gc.disable()
    try:
        options = ClusterOptions(scheduler=address)
        with pytest.raises(MrcdistError), connect(options, log=lambda text: None):
            pass
        assert {client.status for client in clients() if id(client) not in known} <= {"closed"}
    finally:
        gc.enable()


@pytest.mark.parametrize("address", ["user:secret@127.0.0.1", "tls://:secret@127.0.0.1:9"])
def test_errors_of_the_connection_contain_no_password(address):
    with pytest.raises(MrcdistError) as error, connect(ClusterOptions(address), log=print):
        pass
    assert error.value.code == "scheduler-unreachable"
    assert "secret" not in str(error.value)


def clients() -> list[Client]:
    # isinstance would fail on weak references to objects that no longer exist.
    return [each for each in gc.get_objects() if issubclass(type(each), Client)]


def test_computation_ends_if_the_check_for_workers_raises_any_error():
    """Connections can fail with many kinds of error, not only with `MrcdistError`."""

    # Not the default client, as in jobs: dask would keep it as such after it is closed.
    with Client(
        processes=False,
        n_workers=1,
        threads_per_worker=1,
        dashboard_address=None,
        set_as_default=False,
    ) as client:
        cluster = Cluster(client, lambda text: None, [OSError("comm closed")])
        with pytest.raises(OSError, match="comm closed"), cluster.running_dask():
            dask.delayed(time.sleep)(3).compute()
    assert dask.config.get("scheduler", None) is None
