"""Clusters that a job cannot connect to."""

from __future__ import annotations

import gc

import pytest
from distributed import Client

from mrcdist.batch.clusters import ClusterOptions, connect
from mrcdist.errors import MrcdistError


@pytest.mark.parametrize("address", ["", "foo://b", "tls://127.0.0.1:9"])
def test_clients_that_cannot_connect_are_closed(address):
    """The garbage collector would close them at any time, in any thread, which can hang."""
    known = {id(client) for client in clients()}
    gc.disable()
    try:
        options = ClusterOptions(scheduler=address)
        with pytest.raises(MrcdistError), connect(options, say=lambda text: None):
            pass
        assert {client.status for client in clients() if id(client) not in known} <= {"closed"}
    finally:
        gc.enable()


def clients() -> list[Client]:
    return [each for each in gc.get_objects() if isinstance(each, Client)]
