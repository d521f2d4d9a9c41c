"""Paths in folders with bind mounts."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_file_lies_in_a_bind_mount_of_its_folder(tmp_path):
    for name in ("run", "mount"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "a.mrc").touch()
    script = (
        "from pathlib import Path; from mrcdist.storage.url import lies_in; "
        "print(lies_in(Path('run/a.mrc'), Path('mount')))"
    )
    mounted = ["unshare", "-m", "sh", "-c", 'mount --bind run mount && exec "$@"', "sh"]
    try:
        subprocess.run([*mounted, "true"], cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting requires root and Linux: {error}")
    done = subprocess.run(
        [*mounted, sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True
    )
    assert done.stdout == b"True\n"
