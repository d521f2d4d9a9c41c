"""Several hosts on one machine: network namespaces, joined by a switch that is one more of them.

Each host has an address of its own on 10.99.0.0/24, a name that the others know, and nothing else:
no way to 127.0.0.1 of this machine, to its network or out. Nothing is changed outside the new
namespaces. A process on a host may also be blinded to folders, in a mount namespace of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_RUNNING = Path("/run/netns")
_FILES = Path("/etc/netns")  # `ip netns exec` shows NAME/hosts of it as /etc/hosts
_MINE = re.compile(r"mrctest-(\d+)-")
_HIDE = """
n="$1"; shift
while [ "$n" -gt 0 ]; do mount -t tmpfs none "$1"; shift; n=$((n - 1)); done
exec "$@"
"""


@dataclass(frozen=True)
class Host:
    """One host.

    Parameters
    ----------
    name : str
        As the others know it.
    address : str
        Its IPv4 address.
    namespace : str
        Its network namespace.
    """

    name: str
    address: str
    namespace: str

    def command(self, *words: str | Path, hidden: Sequence[Path] = ()) -> list[str]:
        """Return the command line that runs `words` on this host.

        Parameters
        ----------
        hidden : sequence of Path
            Folders that are empty for it. It must not start in one of them.

        Notes
        -----
        Each program on the way becomes the next one, so that the process that is started is, in
        the end, the last: its pid can be killed.
        """
        prefix = ["ip", "netns", "exec", self.namespace]
        if hidden:
            prefix += ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _HIDE, "sh"]
            prefix += [str(len(hidden)), *(str(folder.resolve()) for folder in hidden)]
        return [*prefix, *(str(word) for word in words)]

    def run(self, *words: str | Path, hidden: Sequence[Path] = (), timeout: float = 30) -> str:
        """Run a short command on this host and return what it printed."""
        return _run(*self.command(*words, hidden=hidden), timeout=timeout)

    def cut(self) -> None:
        """Pull its plug: packets vanish, nobody is told."""
        _run("ip", "-n", self.namespace, "link", "set", "eth0", "down")

    def mend(self) -> None:
        """Put the plug back in."""
        _run("ip", "-n", self.namespace, "link", "set", "eth0", "up")


@contextmanager
def isolated_hosts(
    *names: str, aliases: Mapping[str, str] | None = None
) -> Iterator[dict[str, Host]]:
    """Make hosts for as long as the block lasts; skip the test where that cannot be done.

    Parameters
    ----------
    *names : str
        Names of the hosts; the first gets 10.99.0.1.
    aliases : mapping, optional
        Further names that all hosts know: name to a host's name.

    Yields
    ------
    dict of str to Host
    """
    _require()
    _remove_orphans()
    prefix = f"mrctest-{os.getpid()}-"
    hosts = {
        name: Host(name, f"10.99.0.{number}", prefix + name)
        for number, name in enumerate(names, start=1)
    }
    known = {**{name: name for name in names}, **(aliases or {})}
    table = "127.0.0.1 localhost\n" + "".join(
        f"{hosts[host].address} {name}\n" for name, host in known.items()
    )
    try:
        _make(prefix + "switch", hosts, table)
        yield hosts
    finally:
        _remove(prefix)


def _require() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("hosts of our own take Linux and root")
    if not shutil.which("ip"):
        pytest.skip("no ip: apt-get install iproute2")
    probe = f"mrctest-{os.getpid()}-probe"
    try:
        _run("ip", "netns", "add", probe)
        _run("ip", "netns", "del", probe)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.output}")


def _make(switch: str, hosts: Mapping[str, Host], table: str) -> None:
    _run("ip", "netns", "add", switch)
    _run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
    _run("ip", "-n", switch, "link", "set", "br0", "up")
    for number, host in enumerate(hosts.values()):
        port, own = f"port{number}", host.namespace
        _run("ip", "netns", "add", own)
        link = ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", own]
        _run("ip", "-n", switch, *link)
        _run("ip", "-n", switch, "link", "set", port, "master", "br0", "up")
        _run("ip", "-n", own, "link", "set", "lo", "up")
        _run("ip", "-n", own, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _run("ip", "-n", own, "link", "set", "eth0", "up")
        # Programs find out their own address by asking for the way out. There is none.
        _run("ip", "-n", own, "route", "add", "default", "dev", "eth0")
        (_FILES / own).mkdir(parents=True)
        (_FILES / own / "hosts").write_text(table)


def _remove(prefix: str) -> None:
    """Kill what still runs on the hosts with this prefix, and forget them."""
    for entry in sorted(_RUNNING.glob(f"{prefix}*")):
        with suppress(subprocess.CalledProcessError):
            for pid in _run("ip", "netns", "pids", entry.name).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        with suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "del", entry.name)
    for folder in _FILES.glob(f"{prefix}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans() -> None:
    """Remove hosts whose test run was killed before it could."""
    for folder in (_RUNNING, _FILES):
        for entry in folder.glob("mrctest-*"):
            if (made := _MINE.match(entry.name)) and not Path("/proc", made[1]).exists():
                _remove(made[0])


def _run(*command: str, timeout: float = 30) -> str:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=True,
        text=True,
    ).stdout
