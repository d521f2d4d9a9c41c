"""Jobs that were submitted to a batch system: whether their workers can still come."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from distributed.core import Status

from mrcdist.errors import MrcdistError

__all__ = ["remembering", "watch"]

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


def remembering(kind: type[Any]) -> type[Any]:
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


async def watch(cluster: Any, system: str, failed: Callable[[MrcdistError], None]) -> None:
    """Look at the jobs until workers come, and again when there are none.

    Parameters
    ----------
    cluster : dask_jobqueue.JobQueueCluster
    system : str
        Such as "slurm".
    failed : callable
        Called once, if no worker can come.
    """
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


async def _reasons(cluster: Any, jobs: Collection[str]) -> Mapping[str, str]:
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


def _ended(cluster: Any, jobs: Collection[str]) -> MrcdistError:
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
