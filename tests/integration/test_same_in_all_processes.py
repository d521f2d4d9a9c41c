"""The identity of a job is the same in all processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.users_code import SOURCE, Plain, described, rows_from


def test_custom_detector_has_the_same_description_in_all_processes() -> None:
    code = (
        "from tests.support.users_code import Plain, described, rows_from; "
        "print(described(Plain(rows_from(20))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == described(Plain(rows_from(20)))


def test_digests_are_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "module_of_a_user.py").write_text(SOURCE)
    program = (
        "from mrcdist.compute.function_digest import function_digest; import module_of_a_user; "
        "print(function_digest(module_of_a_user.largest))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
