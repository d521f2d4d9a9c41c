"""Options for a cluster, and checks of its workers."""

from __future__ import annotations

import pytest

from mrcdist.batch.clusters import Cluster, ClusterOptions
from mrcdist.errors import ArgumentError, MrcdistError


@pytest.mark.parametrize(
    "options",
    [
        {"scheduler": "tcp://a:1", "scheduler_file": "f"},
        {"jobqueue": "f", "workers": 2},
        {"scheduler": "tcp://a:1", "memory_limit": "1 GiB"},
        {"memory_limit": "much"},
    ],
)
def test_conflicting_or_invalid_cluster_options_are_refused(options):
    name = next(iter(options))
    with pytest.raises(ArgumentError, match=f"^`{name}") as refused:
        ClusterOptions(**options)
    assert refused.value.argument == name


class TestCluster:
    class Client:
        def __init__(self, workers):
            self.workers = workers

        def nthreads(self):
            return self.workers

    def test_missing_workers_are_reported(self):
        messages = []
        Cluster(self.Client({"tcp://1": 1}), messages.append, interval=0).check()
        assert messages == []
        Cluster(self.Client({}), messages.append, interval=0).check()
        assert messages == ["there are no workers: tasks wait for workers to start"]

    def test_missing_workers_are_reported_once_per_interval(self):
        messages = []
        cluster = Cluster(self.Client({}), messages.append, interval=600)
        for _ in range(9):
            cluster.check()
        assert messages == []

    def test_failure_to_start_workers_is_raised(self):
        failures = []
        cluster = Cluster(self.Client({}), print, failures)
        cluster.check()
        failures.append(MrcdistError("refused"))
        with pytest.raises(MrcdistError, match="refused"):
            cluster.check()
