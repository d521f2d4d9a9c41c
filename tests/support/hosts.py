"""Several hosts on one machine: network namespaces, connected by a bridge in another namespace.

Each host has its own address in 10.99.0.0/24 and a name that the other hosts can resolve. It cannot
reach 127.0.0.1 of this machine or any other network. Nothing is changed outside the new namespaces.
Folders can be hidden from processes on a host, in a separate mount namespace.
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

_NAMESPACES = Path("/run/netns")
_FILES = Path("/etc/netns")  # `ip netns exec` mounts NAME/hosts of it as /etc/hosts
_PREFIX = re.compile(r"mrctest-(\d+)-")
_HIDE = """
n="$1"; shift
while [ "$n" -gt 0 ]; do mount -t tmpfs none "$1"; shift; n=$((n - 1)); done
exec "$@"
"""


@dataclass(frozen=True)
class Host:
    """A host.

    Parameters
    ----------
    name : str
        Host name.
    address : str
        IPv4 address.
    namespace : str
        Network namespace.
    """

    name: str
    address: str
    namespace: str

    def command(self, *words: str | Path, hidden: Sequence[Path] = ()) -> list[str]:
        """Return the command line that runs a command on this host.

        Parameters
        ----------
        *words : str or Path
            The command and its arguments.
        hidden : sequence of Path
            Folders that are empty for the command. It must not start in one of them.

        Notes
        -----
        Every program of the command line replaces itself with the next one (exec), so the pid of
        the process started is that of the command.
        """
        prefix = ["ip", "netns", "exec", self.namespace]
        if hidden:
            prefix += ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _HIDE, "sh"]
            prefix += [str(len(hidden)), *(str(folder.resolve()) for folder in hidden)]
        return [*prefix, *(str(word) for word in words)]

    def run(self, *words: str | Path, hidden: Sequence[Path] = (), timeout: float = 30) -> str:
        """Run a short command on this host and return its output."""
        return _run(*self.command(*words, hidden=hidden), timeout=timeout)

    def cut(self) -> None:
        """Disconnect the host: packets are lost without an error."""
        _run("ip", "-n", self.namespace, "link", "set", "eth0", "down")

    def mend(self) -> None:
        """Connect the host again."""
        _run("ip", "-n", self.namespace, "link", "set", "eth0", "up")


@contextmanager
def isolated_hosts(
    *names: str, aliases: Mapping[str, str] | None = None
) -> Iterator[dict[str, Host]]:
    """Create hosts for the duration of the block; skip the test if that is impossible.

    Parameters
    ----------
    *names : str
        Names of the hosts; the first has the address 10.99.0.1.
    aliases : mapping, optional
        Alias → name of a host.

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
    host_of = {**{name: name for name in names}, **(aliases or {})}
    table = "127.0.0.1 localhost\n" + "".join(
        f"{hosts[host].address} {name}\n" for name, host in host_of.items()
    )
    try:
        _create(prefix + "switch", hosts, table)
        yield hosts
    finally:
        _remove(prefix)


def _require() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("isolated hosts need Linux and root")
    if not shutil.which("ip"):
        pytest.skip("needs ip: apt-get install iproute2")
    probe = f"mrctest-{os.getpid()}-probe"
    try:
        _run("ip", "netns", "add", probe)
        _run("ip", "netns", "del", probe)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot create network namespaces: {error.output}")


def _create(switch: str, hosts: Mapping[str, Host], table: str) -> None:
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
        # Programs find their own address from the default route, so there must be one.
        _run("ip", "-n", own, "route", "add", "default", "dev", "eth0")
        (_FILES / own).mkdir(parents=True)
        (_FILES / own / "hosts").write_text(table)


def _remove(prefix: str) -> None:
    """Kill all processes on the hosts with this prefix, and remove the hosts."""
    for entry in sorted(_NAMESPACES.glob(f"{prefix}*")):
        with suppress(subprocess.CalledProcessError):
            for pid in _run("ip", "netns", "pids", entry.name).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        with suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "del", entry.name)
    for folder in _FILES.glob(f"{prefix}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans() -> None:
    """Remove hosts left behind by a test run that was killed."""
    for folder in (_NAMESPACES, _FILES):
        for entry in folder.glob("mrctest-*"):
            if (match := _PREFIX.match(entry.name)) and not Path("/proc", match[1]).exists():
                _remove(match[0])


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
