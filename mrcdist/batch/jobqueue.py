"""Workers as jobs of a batch system, through dask-jobqueue, from one YAML file.

::

    jobqueue:                    # dask-jobqueue's own settings, as sites publish them
      slurm:
        cores: 16
        processes: 4
        memory: 64 GiB
        walltime: "02:00:00"
        interface: ib0
      pbs:
        cores: 16
        ...
    system: slurm                # default: the first one above whose submit command is here
    jobs:
      minimum: 0                 # default 0
      maximum: 16                # default 10

What is left out is taken from dask's configuration.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from distributed.core import Status

from mrcdist.errors import ArgumentError, MissingExtraError, MrcdistError
from mrcdist.extras import install_command

_log = logging.getLogger(__name__)

# System, which is a module of dask_jobqueue → its class, command that submits a job. "local" runs
# jobs as processes of this machine, for trying a file out.
_SYSTEMS = {
    "slurm": ("SLURMCluster", "sbatch"),
    "pbs": ("PBSCluster", "qsub"),
    "sge": ("SGECluster", "qsub"),
    "lsf": ("LSFCluster", "bsub"),
    "oar": ("OARCluster", "oarsub"),
    "htcondor": ("HTCondorCluster", "condor_submit"),
    "local": ("LocalCluster", "sh"),
}


# Seconds between two looks at jobs whose workers have not come: first, factor, most.
_FIRST, _SLOWER, _MOST = 2.0, 1.5, 60.0

# Slurm's reasons for a pending job that it will not start, whatever becomes of other jobs.
_NEVER = re.compile(
    r"Partition(Config|TimeLimit|NodeLimit)|(Account|QOS)NotAllowed|Invalid(Account|QOS)"
    r"|BadConstraints|DependencyNeverSatisfied|(Assoc|QOS)(Max|Min)\w*Per(Job|Node)\w*"
    r"|MaxMemPerLimit|ReservationDeleted|(?i:held)"
)

# Lines of a job's log that an error quotes.
_TAIL = 3


@dataclass(frozen=True)
class JobQueue:
    """Batch jobs to submit: `minimum` of them always, up to `maximum` while there is work.

    The `settings` are keyword arguments of dask-jobqueue's cluster for the `system`.
    """

    system: str
    settings: Mapping[str, Any] = field(repr=False)
    minimum: int
    maximum: int


def read_job_queue(path: Path) -> JobQueue:
    """Read the settings of batch jobs from a YAML file.

    Raises
    ------
    ArgumentError
        The file is unreadable or invalid, or none of its batch systems is installed here.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(
            f"jobqueue={path}",
            code="jobqueue-invalid",
            argument="jobqueue",
            cause=str(error),
            remedy="pass the path of a YAML file",
        ) from None
    try:
        return parse_job_queue(text, installed=lambda command: shutil.which(command) is not None)
    except ArgumentError as error:
        raise error.located(str(path)) from None


def parse_job_queue(text: str, *, installed: Callable[[str], bool]) -> JobQueue:
    """Parse the text of such a file; `installed` says whether a command is on this machine."""
    try:
        given = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _wrong("not valid YAML", str(error)) from None
    if not isinstance(given, dict) or not isinstance(given.get("jobqueue"), dict):
        raise _wrong("there is no section jobqueue", "it holds a section for each batch system")
    sections = {key: value or {} for key, value in given["jobqueue"].items()}
    if unknown := [str(key) for key in given if key not in ("jobqueue", "system", "jobs")]:
        raise _wrong(f"unknown section {unknown[0]!r}", "there are jobqueue, system and jobs")
    if unknown := [str(key) for key in sections if key not in _SYSTEMS]:
        raise _wrong(f"unknown batch system {unknown[0]!r}", f"there are {', '.join(_SYSTEMS)}")
    counts = _job_counts(given.get("jobs") or {})
    system = given.get("system") or next(
        (key for key in sections if installed(_SYSTEMS[key][1])), None
    )
    if system is None:
        raise _wrong(
            f"no batch system of {', '.join(sections)} is here",
            "their commands to submit jobs are not on the path",
        )
    if system not in sections or not isinstance(sections[system], dict):
        raise _wrong(f"system: {system}", f"there is no section jobqueue.{system} with settings")
    # dask-jobqueue's configuration and its arguments differ in these.
    settings = {str(key).replace("-", "_"): value for key, value in sections[system].items()}
    if "name" in settings:
        settings["job_name"] = settings.pop("name")
    return JobQueue(system, settings, **counts)


def _job_counts(jobs: Any) -> dict[str, int]:
    known = {"minimum": 0, "maximum": 10}
    counts = {**known, **jobs} if isinstance(jobs, dict) else {}
    if (
        counts.keys() != known.keys()
        or not all(type(count) is int for count in counts.values())
        or not 0 <= counts["minimum"] <= counts["maximum"]
        or counts["maximum"] == 0
    ):
        raise _wrong(f"jobs: {jobs!r}", "it takes minimum and maximum, whole numbers")
    return counts


@contextmanager
def start_jobs(
    queue: JobQueue,
    *,
    at_least: int = 0,
    failed: Callable[[MrcdistError], None] | None = None,
) -> Iterator[Any]:
    """Start a scheduler in this process, and submit jobs as tasks need workers.

    Parameters
    ----------
    queue : JobQueue
    at_least : int, default 0
        Number of workers to request even without tasks.
    failed : callable, optional
        Called once, in a separate thread, if no worker can start, with the error that states the
        reason. Default: log it.

    Yields
    ------
    dask_jobqueue.JobQueueCluster
        Its jobs are cancelled at the end of the block.

    Raises
    ------
    MissingExtraError, ArgumentError
    """
    kind = getattr(_dask_jobqueue(queue.system), _SYSTEMS[queue.system][0])
    try:
        cluster = kind(job_cls=_remembering(kind.job_cls), **queue.settings)
    except (TypeError, ValueError) as error:
        raise _wrong(f"the settings in jobqueue.{queue.system}", str(error)) from None
    with cluster:
        processes = max(int(queue.settings.get("processes") or 1), 1)
        minimum = max(queue.minimum, -(-at_least // processes))
        # Not scale(): it does not replace a job that was cancelled or has ended.
        cluster.adapt(minimum_jobs=minimum, maximum_jobs=max(queue.maximum, minimum))
        failed = failed or (lambda error: _log.error("%s", error))
        cluster.loop.add_callback(_watch, cluster, queue.system, failed)
        yield cluster


def _dask_jobqueue(system: str) -> Any:
    """Import what dask-jobqueue has for a system, and undo that Ctrl-C ends the process at once."""
    before = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module(f"dask_jobqueue.{system}")
    except ImportError:
        raise MissingExtraError(
            "jobqueue needs dask-jobqueue",
            code="package-missing",
            argument="jobqueue",
            cause="it is not installed here",
            remedy=install_command("jobqueue"),
        ) from None
    finally:
        # Only the main thread could have changed it.
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def _remembering(kind: type[Any]) -> type[Any]:
    """Derive a class of dask-jobqueue's jobs that keeps the words in which one is refused.

    dask-jobqueue itself logs a refusal with a traceback, and waits for the worker nevertheless.
    """

    class Job(kind):  # type: ignore[misc]
        refusal = ""

        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:  # noqa: BLE001 each system has its own
                self.refusal = _words(str(error))
                self.status = Status.running  # or the cluster cannot be closed

        async def close(self) -> None:
            if self.job_id:  # there is nothing to cancel of one that was refused
                await super().close()
            self.status = Status.closed

    return Job


async def _watch(cluster: Any, system: str, failed: Callable[[MrcdistError], None]) -> None:
    """Look at the jobs until workers come, and again when there are none; say if none can come."""
    pause, had_workers = _FIRST, False
    while cluster.status in (Status.created, Status.starting, Status.running):
        await asyncio.sleep(pause)
        pause = min(pause * _SLOWER, _MOST)
        if cluster.scheduler.workers:
            had_workers = True
            continue
        jobs = list(cluster.workers.values())
        accepted = [str(job.job_id) for job in jobs if job.job_id]
        refusals = [job.refusal for job in jobs if job.refusal]
        if refusals and not accepted:
            failed(_refused(system, refusals[0]))
            return
        if not accepted or system != "slurm":
            continue
        try:
            reasons = await _reasons(cluster, accepted)
        except (OSError, RuntimeError):
            continue  # Slurm does not answer now
        stuck = {job: reason for job, reason in reasons.items() if _NEVER.search(reason)}
        if reasons.keys() - stuck.keys() or (had_workers and not stuck):
            continue
        failed(_stuck(stuck) if stuck else _ended(cluster, accepted))
        return


async def _reasons(cluster: Any, jobs: Sequence[str]) -> Mapping[str, str]:
    """Ask Slurm for the jobs that have not ended, and why those that wait do so."""
    command = ["squeue", "--noheader", "--format=%i|%r", f"--jobs={','.join(jobs)}"]
    try:
        listed: str = await cluster.job_cls._call(command)
    except RuntimeError as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    return dict(line.split("|", 1) for line in listed.splitlines())


def _words(error: str) -> str:
    """Extract a batch system's own message from dask-jobqueue's report about a call."""
    said = error.partition("\nstdout:\n")[2] or error
    lines = (line.strip() for line in said.replace("\nstderr:\n", "\n").splitlines())
    return "; ".join(line for line in lines if line)


def _refused(system: str, words: str) -> MrcdistError:
    return MrcdistError(
        f"{system} refused the job of a worker",
        code="jobs-refused",
        cause=words,
        remedy=f"change the settings in jobqueue.{system}",
    )


def _stuck(reasons: Mapping[str, str]) -> MrcdistError:
    job, reason = next(iter(reasons.items()))
    return MrcdistError(
        "the jobs of the workers will never start",
        code="jobs-stuck",
        cause=f"Slurm's reason for job {job}: {reason}",
        remedy="change the settings in jobqueue.slurm: `scontrol show partition` lists the limits",
    )


def _ended(cluster: Any, jobs: Sequence[str]) -> MrcdistError:
    folder = Path(cluster._dummy_job.log_directory or ".")
    lines: list[str] = []
    for log in sorted(path for path in folder.glob("*") if any(job in path.name for job in jobs)):
        text = log.read_text("utf-8", errors="replace")
        lines += [line.strip() for line in text.splitlines() if line.strip()][-_TAIL:]
    return MrcdistError(
        "the jobs of the workers ended before a worker connected",
        code="jobs-ended",
        cause="; ".join(lines[-_TAIL:]) or "their logs are empty",
        remedy=f"look at the logs of jobs {', '.join(jobs)} in {folder}",
    )


def _wrong(problem: str, cause: str) -> ArgumentError:
    return ArgumentError(
        f"jobqueue file: {problem}",
        code="jobqueue-invalid",
        argument="jobqueue",
        cause=cause,
        remedy="see dask-jobqueue's documentation for the settings of each batch system",
    )
