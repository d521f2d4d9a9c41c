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

import importlib
import logging
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mrcdist.batch.queued_jobs import remembering, watch
from mrcdist.errors import ArgumentError, MissingExtraError, MrcdistError
from mrcdist.extras import install_command

__all__ = ["JobQueue", "parse_job_queue", "read_job_queue", "start_jobs"]

_log = logging.getLogger(__name__)

# System → class of dask_jobqueue, command that submits a job. "local" runs jobs as processes of
# this machine, for trying a file out.
_SYSTEMS = {
    "slurm": ("SLURMCluster", "sbatch"),
    "pbs": ("PBSCluster", "qsub"),
    "sge": ("SGECluster", "qsub"),
    "lsf": ("LSFCluster", "bsub"),
    "oar": ("OARCluster", "oarsub"),
    "htcondor": ("HTCondorCluster", "condor_submit"),
    "local": ("LocalCluster", "sh"),
}


@dataclass(frozen=True)
class JobQueue:
    """Batch jobs to submit: their resources and their number.

    Attributes
    ----------
    system : str
        Batch system, such as "slurm".
    settings : mapping
        Keyword arguments of dask-jobqueue's cluster.
    minimum, maximum : int
        Number of jobs that always run, and of jobs that run while there is work for them.
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
    """Parse the text of such a file.

    Parameters
    ----------
    text : str
        YAML, see above.
    installed : callable
        Whether a command is on this machine.

    Raises
    ------
    ArgumentError
    """
    try:
        given = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _wrong("this is no YAML", str(error)) from None
    if not isinstance(given, dict) or not isinstance(given.get("jobqueue"), dict):
        raise _wrong("there is no section jobqueue", "it holds a section for each batch system")
    sections = {key: value or {} for key, value in given["jobqueue"].items()}
    jobs = given.get("jobs") or {}
    if unknown := [str(key) for key in given if key not in ("jobqueue", "system", "jobs")]:
        raise _wrong(f"unknown section {unknown[0]!r}", "there are jobqueue, system and jobs")
    if unknown := [str(key) for key in sections if key not in _SYSTEMS]:
        raise _wrong(f"unknown batch system {unknown[0]!r}", f"there are {', '.join(_SYSTEMS)}")
    known = {"minimum": 0, "maximum": 10}
    counts = {**known, **jobs} if isinstance(jobs, dict) else {}
    if (
        counts.keys() != known.keys()
        or not all(type(count) is int for count in counts.values())
        or not 0 <= counts["minimum"] <= counts["maximum"]
        or counts["maximum"] == 0
    ):
        raise _wrong(f"jobs: {jobs!r}", "it takes minimum and maximum, whole numbers")
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
    return JobQueue(system, settings, counts["minimum"], counts["maximum"])


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
    try:
        with _own_handlers():
            jobqueue = importlib.import_module("dask_jobqueue")
    except ImportError:
        raise MissingExtraError(
            "jobqueue needs dask-jobqueue",
            code="package-missing",
            argument="jobqueue",
            cause="it is not installed here",
            remedy=install_command("jobqueue"),
        ) from None
    name = _SYSTEMS[queue.system][0]
    if queue.system == "local":
        jobqueue = importlib.import_module("dask_jobqueue.local")
    kind = getattr(jobqueue, name)
    try:
        cluster = kind(job_cls=remembering(kind.job_cls), **queue.settings)
    except (TypeError, ValueError) as error:
        raise _wrong(f"the settings in jobqueue.{queue.system}", str(error)) from None
    with cluster:
        processes = max(int(queue.settings.get("processes") or 1), 1)
        minimum = max(queue.minimum, -(-at_least // processes))
        # Not scale(): it does not replace a job that was cancelled or has ended.
        cluster.adapt(minimum_jobs=minimum, maximum_jobs=max(queue.maximum, minimum))
        cluster.loop.add_callback(watch, cluster, queue.system, failed or _log_error)
        yield cluster


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Undo that dask-jobqueue, when it is imported, makes Ctrl-C end the process at once."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        # Only the main thread could have changed it.
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def _log_error(error: MrcdistError) -> None:
    _log.error("%s", error)


def _wrong(problem: str, cause: str) -> ArgumentError:
    return ArgumentError(
        f"jobqueue file: {problem}",
        code="jobqueue-invalid",
        argument="jobqueue",
        cause=cause,
        remedy="see dask-jobqueue's documentation for the settings of each batch system",
    )
