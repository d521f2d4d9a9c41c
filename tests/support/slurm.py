"""A real Slurm cluster with two virtual nodes on one machine, within a `with` block.

Controller and node daemons run as root without munge or systemd, listen on 127.0.0.1 and keep all
state in one folder. Jobs are children of `slurmstepd`, which is detached from its parent: at the
end, jobs are cancelled, and then all processes with this cluster's configuration in their
environment are killed by pid.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.processes import (
    ROOT,
    ProcessDiedError,
    Processes,
    free_port,
    isolated_environment,
)
from tests.support.programs import install_programs

NODES = ("n1", "n2")
# More than the machine has, so that jobs of usual sizes are accepted. Tests use less.
CPUS_PER_NODE = 16
MIB_PER_NODE = 2**16
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scancel", "squeue", "sinfo", "scontrol", "srun")


@dataclass(frozen=True)
class Slurm:
    """A running Slurm cluster and the operations that tests need.

    Parameters
    ----------
    folder : Path
        Folder for state and logs; by default, jobs start in it.
    environment : mapping
        Environment of commands and jobs: Slurm's configuration, a PATH that starts with the
        project's programs, and no S3 settings of the user.
    """

    folder: Path
    environment: Mapping[str, str] = field(repr=False)

    def run(
        self,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
        timeout: float = 120.0,
    ) -> str:
        """Run a command and return its output.

        Raises
        ------
        ProcessDiedError
            If it fails or runs longer than `timeout` seconds; the message contains its output.
        """
        process = self.attempt(
            *command, environment=environment, working_folder=working_folder, timeout=timeout
        )
        if process.returncode:
            raise ProcessDiedError(f"{command} ended with {process.returncode}\n{process.stdout}")
        return process.stdout

    def attempt(
        self,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
        timeout: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail; standard error is merged into its output."""
        try:
            return subprocess.run(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=working_folder or self.folder,
                env={**self.environment, **(environment or {})},
                timeout=timeout,
                check=False,
                text=True,
            )
        except subprocess.TimeoutExpired as error:
            raise ProcessDiedError(f"{error}\n{error.output}\n{self.queue()}") from error

    def submit(
        self,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
    ) -> str:
        """Submit a command with sbatch; return the job's number."""
        printed = self.run(
            "sbatch",
            "--parsable",
            *command,
            environment=environment,
            working_folder=working_folder,
        )
        return printed.strip().split(";")[0]

    def states(self, name: str | None = None) -> dict[str, str]:
        """Return job number → state for all jobs in the queue, or those with this name."""
        lines = self.run("squeue", "-h", "-o", "%i %T %j").splitlines()
        rows = [line.split(maxsplit=2) for line in lines]
        return {row[0]: row[1] for row in rows if name is None or row[2] == name}

    def outcome(self, job: str) -> tuple[str, int]:
        """Return a job's state and exit status, also after it has left the queue."""
        text = self.run("scontrol", "show", "job", job)
        state = re.search(r"JobState=(\w+)", text)
        status = re.search(r"ExitCode=(\d+):(\d+)", text)
        assert state, text
        assert status, text
        return state[1], int(status[1])

    def wait(self, job: str, *, timeout: float = 120.0) -> tuple[str, int]:
        """Wait until a job has ended; return its state and exit status."""
        ends = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
        self.wait_until(lambda: self.outcome(job)[0] in ends, f"job {job}", timeout=timeout)
        return self.outcome(job)

    def wait_until(self, ready: Callable[[], bool], what: str, *, timeout: float = 120.0) -> None:
        """Wait until `ready()` is true; fail after `timeout` seconds, with the queue as message."""
        deadline = time.monotonic() + timeout
        while not ready():
            if time.monotonic() > deadline:
                raise ProcessDiedError(f"{what}: not ready after {timeout} s\n{self.queue()}")
            time.sleep(0.1)

    def queue(self) -> str:
        """Return the output of squeue."""
        return self.attempt("squeue").stdout

    def clear(self) -> None:
        """Cancel all jobs and wait until the queue is empty."""
        for job in self.states():
            self.attempt("scancel", "--full", job)
        with suppress(ProcessDiedError):
            self.wait_until(lambda: not self.states(), "an empty queue", timeout=20)


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Slurm]:
    """Run Slurm with two nodes; skip the test if it is not installed.

    Parameters
    ----------
    folder : Path
        Folder for all state and logs.
    """
    _require()
    environment = _environment(folder)
    slurm = Slurm(folder, environment)
    # slurmd ends job steps on SIGTERM, but cannot on SIGKILL.
    with Processes(folder, grace=10) as daemons:
        try:
            _start(daemons, slurm)
            yield slurm
        finally:
            with suppress(ProcessDiedError):
                slurm.clear()
            daemons.stop()
            _kill_remaining(environment["SLURM_CONF"])


def _require() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("starting Slurm needs Linux and root")
    if missing := [program for program in _PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm")
    name = socket.gethostname()
    try:
        socket.gethostbyname(name)
    except OSError:
        pytest.skip(f"cannot resolve this machine's name, {name}: Slurm needs it in /etc/hosts")


def _environment(folder: Path) -> dict[str, str]:
    programs = install_programs(folder / "bin")
    return isolated_environment(
        {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
    )


def _start(daemons: Processes, slurm: Slurm) -> None:
    folder = slurm.folder
    for name in ("state", *NODES):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(_configuration(folder))
    variables = {"SLURM_CONF": str(folder / "slurm.conf")}
    daemons.start("slurmctld", ["slurmctld", "-D"], environment=variables)
    for node in NODES:
        daemons.start(node, ["slurmd", "-D", "-N", node], environment=variables)
    daemons.wait_until(lambda: _idle(slurm), "Slurm's nodes", timeout=30)


def _idle(slurm: Slurm) -> bool:
    # sinfo fails until the controller listens.
    return slurm.attempt("sinfo", "-h", "-N", "-o", "%t").stdout.split() == ["idle"] * len(NODES)


def _configuration(folder: Path) -> str:
    host = socket.gethostname().split(".")[0]
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} "
        f"CPUs={CPUS_PER_NODE} RealMemory={MIB_PER_NODE} State=UNKNOWN"
        for node in NODES
    )
    return f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny

# no authentication: the daemons listen on 127.0.0.1 only
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none

StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log

# no control groups and no accounting: job processes are found by their parents
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none

SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# start jobs without delay
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldTimeout=30
SlurmdTimeout=30
# seconds between a job's SIGTERM and its SIGKILL
KillWait=3
# seconds for which a job stays visible after its end
MinJobAge=300

{nodes}
PartitionName=main Nodes={",".join(NODES)} Default=YES MaxTime=60 State=UP
"""


def _kill_remaining(configuration: str) -> None:
    """Kill processes left behind by this cluster, found by SLURM_CONF in their environment."""
    variable = f"SLURM_CONF={configuration}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if variable in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
