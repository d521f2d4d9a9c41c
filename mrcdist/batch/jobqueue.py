"""Workers as jobs of a batch system, started by dask-jobqueue, with settings from a YAML file.

::

    jobqueue:                    # settings of dask-jobqueue, as published by many sites
      slurm:
        cores: 16
        processes: 4
        memory: 64 GiB
        walltime: "02:00:00"
        interface: ib0
      pbs:
        cores: 16
        ...
    system: slurm                # default: the first one above whose submit command is installed
    jobs:
      minimum: 0                 # default 0
      maximum: 16                # default 10

Missing settings are taken from dask's configuration.
"""

from __future__ import annotations

import asyncio
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

from mrcdist.errors import ArgumentError, MrcdistError
from mrcdist.extras import import_optional, install_command

_log = logging.getLogger(__name__)

# Batch system, which is a module of dask_jobqueue → class, submit command. "local" runs jobs as
# processes on this machine, to try out a file.
_SYSTEMS = {
    "slurm": ("SLURMCluster", "sbatch"),
    "pbs": ("PBSCluster", "qsub"),
    "sge": ("SGECluster", "qsub"),
    "lsf": ("LSFCluster", "bsub"),
    "oar": ("OARCluster", "oarsub"),
    "htcondor": ("HTCondorCluster", "condor_submit"),
    "local": ("LocalCluster", "sh"),
}

# Interval between checks of jobs without workers, in seconds: first, growth factor, maximum.
_INTERVAL, _GROWTH, _MAX_INTERVAL = 2.0, 1.5, 60.0

# Reasons of Slurm for a job that will stay pending even if all other jobs end.
_NEVER_STARTS = re.compile(
    r"Partition(Config|TimeLimit|NodeLimit)|(Account|QOS)NotAllowed|Invalid(Account|QOS)"
    r"|BadConstraints|DependencyNeverSatisfied|(Assoc|QOS)(Max|Min)\w*Per(Job|Node)\w*"
    r"|MaxMemPerLimit|ReservationDeleted|(?i:held)"
)

# Number of log lines quoted in an error.
_LOG_LINES = 3


@dataclass(frozen=True)
class JobQueue:
    """Batch jobs to submit: at least `minimum`, and up to `maximum` while there are tasks.

    `settings` are keyword arguments of dask-jobqueue's cluster class for the `system`.
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
        The file is unreadable or invalid, or none of its batch systems is installed.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(
            f"`jobqueue={path}`",
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
    """Parse the settings of batch jobs; `installed` returns whether a command exists."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _invalid("not valid YAML", str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("jobqueue"), dict):
        raise _invalid("no section jobqueue", "it contains a section for each batch system")
    sections = {key: value or {} for key, value in content["jobqueue"].items()}
    if unknown := [key for key in content if key not in ("jobqueue", "system", "jobs")]:
        raise _invalid(f"unknown section {str(unknown[0])!r}", "expected jobqueue, system or jobs")
    if unknown := [key for key in sections if key not in _SYSTEMS]:
        known = ", ".join(_SYSTEMS)
        raise _invalid(f"unknown batch system {str(unknown[0])!r}", f"expected one of {known}")
    minimum, maximum = _job_counts(content.get("jobs") or {})
    system = content.get("system") or next(
        (key for key in sections if installed(_SYSTEMS[key][1])), None
    )
    if system is None:
        raise _invalid(
            f"none of the batch systems {', '.join(sections)} is installed",
            "their submit commands are not on the path",
        )
    if system not in sections or not isinstance(sections[system], dict):
        raise _invalid(f"system: {system}", f"there is no section jobqueue.{system} with settings")
    # Keys that differ between dask-jobqueue's configuration and its arguments.
    settings = {str(key).replace("-", "_"): value for key, value in sections[system].items()}
    if "name" in settings:
        settings["job_name"] = settings.pop("name")
    return JobQueue(system, settings, minimum, maximum)


def _job_counts(jobs: Any) -> tuple[int, int]:
    """Return the minimum and maximum number of jobs."""
    counts = {"minimum": 0, "maximum": 10}
    if isinstance(jobs, dict) and jobs.keys() <= counts.keys():
        counts |= jobs
        minimum, maximum = counts.values()
        if type(minimum) is type(maximum) is int and 0 <= minimum <= maximum != 0:
            return minimum, maximum
    raise _invalid(f"jobs: {jobs!r}", "expected minimum and maximum, as integers")


@contextmanager
def start_jobs(
    queue: JobQueue,
    *,
    at_least: int = 0,
    on_failure: Callable[[MrcdistError], None] | None = None,
) -> Iterator[Any]:
    """Start a scheduler in this process, and submit jobs when tasks need workers.

    Parameters
    ----------
    queue : JobQueue
    at_least : int, default 0
        Number of workers to request even without tasks.
    on_failure : callable, optional
        Called once, in another thread, with the reason why no worker can start. Default: log it.

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
        cluster = kind(job_cls=_keeping_refusals(kind.job_cls), **queue.settings)
    except (TypeError, ValueError) as error:
        raise _invalid(f"the settings in jobqueue.{queue.system}", str(error)) from None
    with cluster:
        processes = max(int(queue.settings.get("processes") or 1), 1)
        minimum = max(queue.minimum, -(-at_least // processes))
        # scale() would not replace jobs that were cancelled or have ended.
        cluster.adapt(minimum_jobs=minimum, maximum_jobs=max(queue.maximum, minimum))
        on_failure = on_failure or (lambda error: _log.error("%s", error))
        cluster.loop.add_callback(_watch, cluster, queue.system, on_failure)
        yield cluster


def _dask_jobqueue(system: str) -> Any:
    """Import a module of dask-jobqueue, and restore the handler of Ctrl-C, which it replaces."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        return import_optional(
            f"dask_jobqueue.{system}",
            "it submits the jobs of the workers",
            install_command("jobqueue"),
            argument="jobqueue",
        )
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:  # only in the main thread
            signal.signal(signal.SIGINT, handler)


def _keeping_refusals(kind: type[Any]) -> type[Any]:
    """Derive a job class that keeps the message with which the batch system refused a job.

    dask-jobqueue itself logs a traceback and waits for the worker.
    """

    class Job(kind):  # type: ignore[misc]
        refusal = ""

        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:  # noqa: BLE001 depends on the batch system
                self.refusal = _system_message(str(error))
                self.status = Status.running  # otherwise the cluster cannot be closed

        async def close(self) -> None:
            if self.job_id:  # a refused job cannot be cancelled
                await super().close()
            self.status = Status.closed

    return Job


def _system_message(error: str) -> str:
    """Extract the message of a batch system from dask-jobqueue's error."""
    output = error.partition("\nstdout:\n")[2] or error
    lines = (line.strip() for line in output.replace("\nstderr:\n", "\n").splitlines())
    return "; ".join(line for line in lines if line)


async def _watch(cluster: Any, system: str, on_failure: Callable[[MrcdistError], None]) -> None:
    """Check the jobs whenever there are no workers; report it if none can start."""
    interval, had_workers = _INTERVAL, False
    while cluster.status in (Status.created, Status.starting, Status.running):
        await asyncio.sleep(interval)
        interval = min(interval * _GROWTH, _MAX_INTERVAL)
        if cluster.scheduler.workers:
            had_workers = True
        elif failure := await _find_failure(cluster, system, had_workers):
            on_failure(failure)
            return


async def _find_failure(cluster: Any, system: str, had_workers: bool) -> MrcdistError | None:
    """Return the reason why no worker will start, or None if one may."""
    jobs = list(cluster.workers.values())
    accepted = [str(job.job_id) for job in jobs if job.job_id]
    refusals = [job.refusal for job in jobs if job.refusal]
    if refusals and not accepted:
        return MrcdistError(
            f"{system} refused the job of a worker",
            code="jobs-refused",
            cause=refusals[0],
            remedy=f"change the settings in jobqueue.{system}",
        )
    if not accepted or system != "slurm":
        return None
    try:
        reasons = await _pending_reasons(cluster, accepted)
    except (OSError, RuntimeError):
        return None  # Slurm does not respond
    stuck = {job: reason for job, reason in reasons.items() if _NEVER_STARTS.search(reason)}
    if len(stuck) < len(reasons) or (had_workers and not stuck):
        return None
    if not stuck:
        return _jobs_ended(cluster, accepted)
    job, reason = next(iter(stuck.items()))
    return MrcdistError(
        "the jobs of the workers will never start",
        code="jobs-stuck",
        cause=f"Slurm's reason for job {job}: {reason}",
        remedy="change the settings in jobqueue.slurm: `scontrol show partition` lists the limits",
    )


async def _pending_reasons(cluster: Any, jobs: Sequence[str]) -> Mapping[str, str]:
    """Return the jobs that have not ended, with Slurm's reasons if they are pending."""
    command = ["squeue", "--noheader", "--format=%i|%r", f"--jobs={','.join(jobs)}"]
    try:
        output: str = await cluster.job_cls._call(command)
    except RuntimeError as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    return dict(line.split("|", 1) for line in output.splitlines())


def _jobs_ended(cluster: Any, jobs: Sequence[str]) -> MrcdistError:
    folder = Path(cluster._dummy_job.log_directory or ".")
    lines: list[str] = []
    for log in sorted(path for path in folder.glob("*") if any(job in path.name for job in jobs)):
        text = log.read_text("utf-8", errors="replace")
        lines += [line.strip() for line in text.splitlines() if line.strip()][-_LOG_LINES:]
    return MrcdistError(
        "the jobs of the workers ended before a worker connected",
        code="jobs-ended",
        cause="; ".join(lines[-_LOG_LINES:]) or "their logs are empty",
        remedy=f"see the logs of jobs {', '.join(jobs)} in {folder}",
    )


def _invalid(problem: str, cause: str) -> ArgumentError:
    return ArgumentError(
        f"`jobqueue`: {problem}",
        code="jobqueue-invalid",
        argument="jobqueue",
        cause=cause,
        remedy="see dask-jobqueue's documentation for the settings of each batch system",
    )
