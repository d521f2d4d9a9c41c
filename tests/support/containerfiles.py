"""Linter for Containerfiles of images that run on clusters."""

from __future__ import annotations

import re
from collections.abc import Iterator

Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Containerfile: (name in capitals, arguments on one line)."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = [line.strip().split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest).strip()) for name, *rest in pairs]


def problems(text: str) -> list[str]:
    """Return the problems of a Containerfile."""
    parsed = instructions(text)
    return [
        *_bases(parsed),
        *_user(parsed),
        *_commands(parsed),
        *_copies(parsed),
        *_secrets(parsed),
    ]


def _bases(parsed: list[Instruction]) -> Iterator[str]:
    defaults = dict(rest.split("=", 1) for name, rest in parsed if name == "ARG" and "=" in rest)
    stages: set[str] = set()
    for name, rest in parsed:
        if name != "FROM":
            continue
        words = re.sub(r"--platform=\S+\s+", "", rest).split()
        base = re.sub(r"\$\{(\w+)\}", lambda match: defaults.get(match[1], ""), words[0])
        if base not in stages and not re.search(r":\d+\.\d+\.\d+[\w.-]*(@sha256:\w{64})?$", base):
            yield f"FROM {base}: pin the version, including the patch version"
        if re.search(r"(amd64|x86_64|arm64|aarch64)", rest):
            yield f"FROM {rest}: tied to one CPU architecture"
        if len(words) == 3:
            stages.add(words[2])


def _user(parsed: list[Instruction]) -> Iterator[str]:
    last = max((i for i, (name, _) in enumerate(parsed) if name == "FROM"), default=0)
    users = [rest for name, rest in parsed[last:] if name == "USER"]
    if not users:
        yield "no USER in the last stage: it runs as root"
    elif not re.fullmatch(r"[1-9]\d*(:\d+)?", users[-1]):
        yield f"USER {users[-1]}: use a number other than 0, which Kubernetes can check"


def _commands(parsed: list[Instruction]) -> Iterator[str]:
    for name, rest in parsed:
        if name != "RUN":
            continue
        if re.search(r"\b(curl|wget)\b[^|;&]*\|\s*(\w*sh|python\d?)\b", rest):
            yield "RUN: runs a script from the network without checking it"
        if re.search(r"\bsudo\b|chmod\s+(-R\s+)?777", rest):
            yield "RUN: uses sudo, or makes files writable for everybody"
        if "pip install" in rest and not re.search(r"(--constraint|-c|--requirement|-r)\s", rest):
            yield "RUN pip install: versions are not pinned"
        if "pip install" in rest and "--no-cache-dir" not in rest:
            yield "RUN pip install: its cache stays in the image"
        if re.search(r"apt(-get)? install", rest) and "rm -rf /var/lib/apt/lists" not in rest:
            yield "RUN apt-get install: package lists stay in the image"


def _copies(parsed: list[Instruction]) -> Iterator[str]:
    for name, rest in parsed:
        if name == "ADD":
            yield "ADD: use COPY, which has no side effects"
        if name == "COPY" and not rest.startswith("--from") and rest.split()[0] in (".", "./"):
            yield "COPY .: the folder may contain data, keys and the repository's history"


def _secrets(parsed: list[Instruction]) -> Iterator[str]:
    for name, rest in parsed:
        if name in ("ARG", "ENV") and re.search(r"(?i)(secret|password|token|access_key)", rest):
            yield f"{name}: secrets can be read from the image"
