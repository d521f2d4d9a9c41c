"""Claims of docs/cli.md about the command in a shell: completion, and colours on a terminal."""

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

pytestmark = pytest.mark.skipif(not MRCDIST.exists(), reason="mrcdist is not among the commands")


def on_a_terminal(*arguments: str | Path) -> str:
    """Run mrcdist on a new terminal and return its output."""
    ours, its = pty.openpty()
    try:
        subprocess.run(
            ends_with_parent([MRCDIST, *arguments]),
            env=isolated_environment({"TERM": "xterm"}),
            stdin=its,
            stdout=its,
            stderr=its,
            timeout=SECONDS,
            check=False,
        )
        return os.read(ours, 100_000).decode()
    finally:
        os.close(its)
        os.close(ours)


def test_errors_are_coloured_on_a_terminal(tmp_path):
    assert "\x1b[31m" in on_a_terminal("info", tmp_path / "missing.mrc")


def test_line_for_bash_enables_completion():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    [line] = re.findall(r"^(.*_MRCDIST_COMPLETE=bash_source[^#\n]*)", PAGE, re.M)
    done = subprocess.run(
        ends_with_parent([bash, "-c", f"{line}\ncomplete -p mrcdist"]),
        env=isolated_environment({"PATH": f"{MRCDIST.parent}:{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert "_mrcdist_completion" in done.stdout, done.stderr


def test_lines_for_zsh_enable_completion(tmp_path):
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    lines = re.findall(r"^([^\n#]*)# ~/.zshrc", PAGE, re.M)
    done = subprocess.run(
        ends_with_parent([zsh, "-f", "-c", "\n".join([*lines, "print $_comps[mrcdist]"])]),
        env=isolated_environment(
            {"PATH": f"{MRCDIST.parent}:{os.environ['PATH']}", "ZDOTDIR": str(tmp_path)}
        ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout.strip() == "_mrcdist_completion", done.stderr


@pytest.mark.parametrize("name", main.commands)
def test_descriptions_have_no_comma_at_which_fish_would_cut_them(name):
    assert "," not in main.commands[name].get_short_help_str(limit=200)
