"""Statements of docs/cli.md about the command in a shell: completion, and colours on a terminal."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mrcdist.cli import main
from tests.docs.pages import PAGES
from tests.support.processes import ends_with_parent, isolated_environment

PAGE = PAGES["docs/cli.md"].read_text("utf-8")
MRCDIST = Path(sys.executable).with_name("mrcdist")
SECONDS = 120

pytestmark = pytest.mark.skipif(not MRCDIST.exists(), reason="needs the mrcdist command")


def run_on_a_terminal(*arguments: str | Path) -> str:
    """Run mrcdist on a new terminal and return its output."""
    controller, terminal = pty.openpty()
    try:
        subprocess.run(
            ends_with_parent([MRCDIST, *arguments]),
            env=isolated_environment({"TERM": "xterm"}),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            timeout=SECONDS,
            check=False,
        )
        return os.read(controller, 100_000).decode()
    finally:
        os.close(terminal)
        os.close(controller)


def test_errors_are_coloured_on_a_terminal(tmp_path):
    assert "\x1b[31m" in run_on_a_terminal("info", tmp_path / "missing.mrc")


def test_documented_line_for_bash_enables_completion():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    [line] = re.findall(r"^(.*_MRCDIST_COMPLETE=bash_source[^#\n]*)", PAGE, re.M)
    process = subprocess.run(
        ends_with_parent([bash, "-c", f"{line}\ncomplete -p mrcdist"]),
        env=isolated_environment({"PATH": f"{MRCDIST.parent}:{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert "_mrcdist_completion" in process.stdout, process.stderr


def test_documented_lines_for_zsh_enable_completion(tmp_path):
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    lines = re.findall(r"^([^\n#]*)# ~/.zshrc", PAGE, re.M)
    process = subprocess.run(
        ends_with_parent([zsh, "-f", "-c", "\n".join([*lines, "print $_comps[mrcdist]"])]),
        env=isolated_environment(
            {"PATH": f"{MRCDIST.parent}:{os.environ['PATH']}", "ZDOTDIR": str(tmp_path)}
        ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert process.stdout.strip() == "_mrcdist_completion", process.stderr


@pytest.mark.parametrize("name", main.commands)
def test_command_description_has_no_comma_because_fish_cuts_it_there(name):
    assert "," not in main.commands[name].get_short_help_str(limit=200)
