"""Detection of network filesystems, where files are read, not mapped."""

from __future__ import annotations

import functools
from pathlib import Path

import psutil

__all__ = ["on_network"]

# Truncating a mapped file kills the process (SIGBUS). On network filesystems this happens in normal
# use, and read() raises an error that can be caught.
_NETWORK = (
    "nfs", "lustre", "gpfs", "cifs", "smb", "beegfs", "ceph", "glusterfs", "afs", "panfs", "wekafs",
    "orangefs", "pvfs", "9p", "fuse",
)  # fmt: skip


@functools.lru_cache(maxsize=256)
def on_network(path: str) -> bool:
    """Whether a path is on a network or user-space filesystem."""
    real = Path(path).resolve()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    kind = next(
        (mounts[str(folder)] for folder in (real, *real.parents) if str(folder) in mounts), ""
    )
    return kind.startswith(_NETWORK)
