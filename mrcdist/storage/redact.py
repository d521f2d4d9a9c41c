"""Redaction of secrets in URLs, storage options, and messages of other libraries."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import fsspec

from mrcdist.printable import printable
from mrcdist.storage.url import chain, is_web

_SECRET_KEY = re.compile(
    r"key|secret|token|password|passwd|passphrase|passcode|credential|connection_string|conn_str"
    r"|sas|auth|cookie|signature|bearer|^(pwd|pw|pat)$",
    re.I,
)
# In a query, a parameter called just "key" may be the name of an object rather than a secret.
_SECRET_IN_QUERY = re.compile(
    r"(api|access|secret|account|subscription)[-_]?key|secret|token|password|passwd|passphrase"
    r"|passcode|credential|signature|bearer|^(pwd|pw|pat|sig|auth|expires)$|^x-(amz|goog)-",
    re.I,
)

# All patterns take linear time: a log may have megabytes without a space, and a password may be a
# token of kilobytes. Therefore protocol names have a bounded length, and long parts start at a
# delimiter.
_WORD = re.compile(r"(?<![^\s'\"<>])[^\s'\"<>:]*:[^\s'\"<>]*")

# Start of a URL. Conversion to a path removes a slash: https:/user:password@host. Without slashes,
# https:user:…, it is a URL only with a login. URLs may be nested.
_PROTOCOL = re.compile(
    r"\b(?:https?|s3a?|s?ftp|ssh|smb|hdfs|gs|gcs|abfss?|tls|tcp|wss?|ucx):", re.I
)
_URL = re.compile(rf"[a-z][a-z0-9+.-]{{0,30}}://|{_PROTOCOL.pattern}/(?=[^/])", re.I)

# Maximum number of URLs in a word without spaces; what follows is not shown.
_MAX_URLS = 20

# user:password@host/ or @host:port, without a protocol. A file may be named a:b@c, and a folder
# 12:30@300.0kV: user names are not numbers or dates, which may precede them, and host names end
# with letters. A folder named a:b@c is mistaken for a login.
_BARE_LOGIN = re.compile(r"""(?<![^\s/\\'"<>])[^\s/\\'"<>]*@""")
_USER = re.compile(
    r"(?:(?<![^\s/\\'\"<>])|(?<==))"
    r"(?>(?:(?:\d+|\d{4}[._-]?\d\d[._-]?\d\d(?:[T_-]?\d+)?):)*)[^:@=]+=*:"
)
_HOST = re.compile(
    r"@(?:(?:[\w-]+\.)*[a-z](?:[\w-]*[\w])?:?/|(?:\d+\.){3}\d+:?/|[\w.-]+:\d|\[[0-9a-f:.]+\][:/])",
    re.I,
)

# Parameters in the path of a web URL: /a.mrc;token=…
_PATH_PARAMETER = re.compile(r";([^=;/]*)=([^;/]*)")

# Beginning and end of an IPv6 address, around its ::
_IPV6_BEGIN = re.compile(r"\[[0-9a-f:]*$", re.I)
_IPV6_END = re.compile(r"[0-9a-f:.]*(?:%[\w.-]+)?\]", re.I)

# User and password, which may contain an unescaped /, ? or # if the text after the colon is not a
# port.
_LOGIN = re.compile(r"[^/?#]*@|[^/?#@:\[]*:(?!\d*(?:[/?#]|$)).*@", re.S)

# Names and values in options, in JSON, and in headers and responses as logged by botocore. A quoted
# value ends with its quote.
_NAME = (
    r"(?:secret|password|passwd|passphrase|security-token|session_?token|token-\d"
    r"|(?:account|api)[_-]?key|accesssignature)[\w-]{0,40}"
)
_NAMED = re.compile(
    rf"""((?:{_NAME}(?:(?P<tag>>)|[ ]?=[ ]?)|token="""
    rf"""|(?:{_NAME}|token)\\?['"]\s*:\s*(?=b?\\?['"])"""
    r"""|x-amz-security-token['"]?\s*[:,]\s*"""
    r"""|\bauthorization['"]?\s*[:=,]\s*b?['"]?(?:bearer|basic|token)\s+)(?:b?\\?(?P<quote>['"]))?)"""
    r"""(?!\*\*\*)(?(tag)[^<>\n]|(?(quote)(?:(?!(?P=quote))[^\\\n]|\\.)|[^\s'",;&<>)]))+""",
    re.I,
)

# Loggers whose children log URLs, headers and responses including secrets.
_LOGGERS = ("fsspec", "s3fs", "botocore", "aiobotocore", "aiohttp", "asyncio", "urllib3")

# Variables in which s3fs finds keys that are not among the options.
_ENVIRONMENT = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

# The secret may be a part of the value of an option.
_WITHIN = re.compile(r"^(?:Bearer|Basic|Token) +(.+)|(?:Key|Signature|Password|Pwd)=([^;]+)", re.I)

# Least length of a secret: redacting shorter ones would garble ordinary words.
_LEAST_SECRET = 4

# Secrets of the URLs and options used by this process, up to a maximum number, and their least
# length, since they are redacted in all texts.
_MAX_REMEMBERED = 10_000
_LEAST_REMEMBERED = 8
_remembered: set[str] = set()

# Number of loggers when the filter was last added.
_seen_loggers = 0


def redact(url: str) -> str:
    """Return a URL, chained or not, without login, fragment and the values of its query."""
    return _redact_urls(_redact_chain(url))


def scrub(text: str, url: str, options: Mapping[str, Any]) -> str:
    """Remove secrets from a message of another library about the file at `url`.

    These are the secrets of the file, and those that `redact_text` removes. Options count as secret
    if their names suggest it.
    """
    secrets = _secrets_of_url(url)
    secrets += [*map(unquote, secrets), *_secrets(options)]
    return redact_text(_without(text.replace(url, redact(url)), secrets, _LEAST_SECRET))


def identity(url: str, options: Mapping[str, Any]) -> str:
    """Return a secret-free key that identifies a file in any store, for tokens.

    It includes storage options such as an endpoint, a host or an outer archive, but no credentials.
    """
    return f"{_identity_of(url)} {_identity_of(options)}"


def is_secret_key(name: str) -> bool:
    """Return whether the name of a storage option suggests that its value is secret."""
    return _SECRET_KEY.search(name) is not None


def command_line_options(options: Mapping[str, Any]) -> list[str]:
    """Return storage options in the syntax of the command line, with dots for nested ones.

    KEY=VALUE, or KEY alone if the value is secret, which the command line reads from the
    environment. Values that only Python can pass are omitted.
    """
    words = []
    for key, value in options.items():
        secret = is_secret_key(str(key)) and not isinstance(value, bool | None)
        if isinstance(value, Mapping) and not secret:
            words += [f"{key}.{word}" for word in command_line_options(value)]
            continue
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):
            continue
        if isinstance(value, str):
            text = value
            with suppress(ValueError):
                json.loads(value)  # otherwise parsed as another type
                text = json.dumps(value)
        secret = secret or bool(_secrets(value)) or redact_text(text) != text
        words.append(str(key) if secret else f"{key}={text}")
    return words


def remember_secrets(url: str, options: Mapping[str, Any]) -> None:
    """Have `redact_text` remove the secrets of a URL and its storage options."""
    if len(_remembered) < _MAX_REMEMBERED:
        secrets = _secrets(options) + _secrets_of_url(url, _SECRET_IN_QUERY)
        _remembered.update(secret for secret in secrets if len(secret) >= _LEAST_REMEMBERED)


def redact_text(text: str) -> str:
    """Remove secrets from any text that leaves the program: logs and errors.

    These are logins and queries of URLs, named secrets such as session tokens, and the values known
    from `remember_secrets` and the environment.
    """
    text = _NAMED.sub(r"\1***", _redact_urls(text))
    known = {os.environ.get(name, "") for name in _ENVIRONMENT} | _remembered
    return _without(text, known, _LEAST_REMEMBERED)


def _without(text: str, secrets: Iterable[str], least: int) -> str:
    """Remove secrets of at least `least` characters from a text."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= least:
            text = text.replace(secret, "***")
    return text


def filter_logs() -> None:
    """Redact the logs of the libraries that access stores, including newly imported ones."""
    global _seen_loggers
    loggers = logging.root.manager.loggerDict
    if len(loggers) == _seen_loggers:
        return
    for name in list(loggers):
        if name.partition(".")[0] in _LOGGERS:
            logging.getLogger(name).addFilter(_redact_record)
    _seen_loggers = len(loggers)


def _redact_record(record: logging.LogRecord) -> bool:
    """Redact a log record, including its traceback; a filter for loggers of other libraries."""
    record.msg, record.args = redact_text(record.getMessage()), ()
    if record.exc_info:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    if record.exc_text:
        record.exc_text = redact_text(record.exc_text)
    return True


def _redact_urls(text: str) -> str:
    return _WORD.sub(lambda match: _redact_word(match.group()), text)


def _redact_word(word: str) -> str:
    """Redact all URLs in a word, and logins before a host.

    A URL extends to the end of the word, as passwords and queries may contain any character.
    """
    start = end = n_urls = 0
    while match := _URL.search(word, end):
        end, n_urls = match.end(), n_urls + 1
        if n_urls > _MAX_URLS:
            return f"{word[:end]}***"
        word = _redact_from(word, match.start(), end)
    for part in word.split("/"):
        if match := _PROTOCOL.search(part.rpartition("@")[0]):
            word = _redact_from(word, start + match.start(), start + match.end())
            break
        start += len(part) + 1
    return _BARE_LOGIN.sub(_redact_login, word)


def _redact_from(word: str, start: int, end: int) -> str:
    """Redact the URL that extends from `start` to the end of a word; `end` is after its slashes."""
    protocol, _, slashes = word[start:end].partition(":")
    url = f"{protocol}://{word[end:]}"
    shown = _redact_chain(url) if slashes == "//" else _redact_part(url)
    return word[:start] + shown.replace("://", f":{slashes}", 1)


def _redact_login(match: re.Match[str]) -> str:
    """Redact the text between the colon after a user and the last @ before a host."""
    text, (start, at) = match.string, match.span()
    while (at := text.rfind("@", start, at)) >= 0 and not _HOST.match(text, at):
        pass
    if at < 0 or not (user := _USER.search(text, start, at - 1)):
        return match.group()
    return f"{text[start : user.end()]}***{text[at : match.end()]}"


def _chain(url: str) -> list[str]:
    """Return the members of a chained URL, whose queries and addresses may contain ``::``."""
    parts: list[str] = []
    for part in chain(url):
        previous = parts[-1] if parts else ""
        in_query = "://" not in part and is_web(previous) and "?" in previous
        if in_query or (_IPV6_BEGIN.search(previous) and _IPV6_END.match(part)):
            parts[-1] += f"::{part}"
        else:
            parts.append(part)
    return parts


def _split(part: str) -> tuple[str, str, str, str]:
    """Split a URL into scheme, login, host with path, and query."""
    scheme, _, rest = part.partition("://")
    slashes = "" if scheme.lower() in ("file", "local") else rest[: -len(rest.lstrip("/")) or None]
    rest = rest.removeprefix(slashes)
    login = match.group() if (match := _LOGIN.match(rest)) else ""
    if login and ":" not in login and not is_web(part):
        login = ""  # abfs://container@account
    rest = rest.removeprefix(login)
    if is_web(part):
        rest = rest.partition("#")[0]
    rest, _, query = rest.partition("?")
    return scheme, login.removesuffix("@"), slashes + rest, query


def _redact_chain(url: str) -> str:
    return printable("::".join(_redact_part(part) for part in _chain(url)))


def _redact_part(part: str) -> str:
    if "://" not in part:
        return _redact_urls(part)
    scheme, _, rest, query = _split(part)
    if is_web(part):
        rest = _PATH_PARAMETER.sub(r";\1=***", rest)
    if rest.startswith("[") and "]" not in rest.partition("/")[0]:
        return f"{scheme}://***"
    pairs = (pair.partition("=") for pair in query.split("&"))
    query = "&".join(f"{name}=***" if eq else "***" * bool(name) for name, eq, _ in pairs)
    return f"{scheme}://{rest}{'?' * bool(query)}{query}"


def _secrets_of_url(url: str, names: str | re.Pattern[str] = "") -> list[str]:
    """Return passwords, and parameters of query and path whose names match, by default all."""
    secrets: list[str] = []
    for part in _chain(url):
        if "://" in part:
            _, login, rest, query = _split(part)
            pairs = [pair.partition("=")[::2] for pair in query.split("&")]
            for name, value in pairs + _PATH_PARAMETER.findall(rest) * is_web(part):
                if re.search(names, name):
                    secrets.append(value or name * (not names))
            secrets.append(login.partition(":")[2])
    return secrets


def _secrets(options: Any, *, secret: bool = False) -> list[str]:
    """Return the texts in nested options whose names suggest a secret."""
    if isinstance(options, bytes):
        options = options.decode("latin-1")
    if isinstance(options, str):
        within = [text for pair in _WITHIN.findall(options) for text in pair]
        return [text for text in (options, *within) if secret and len(text) >= _LEAST_SECRET]
    if isinstance(options, Mapping):
        return [
            text
            for key, value in options.items()
            for text in _secrets(value, secret=secret or bool(_SECRET_KEY.search(str(key))))
        ]
    if isinstance(options, list | tuple):
        # Headers may come as pairs of name and value.
        pair = {options[0]: options[1]} if len(options) == 2 and isinstance(options[0], str) else {}
        return [text for value in (pair, *options) for text in _secrets(value, secret=secret)]
    return []


def _identity_of(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return "::".join(
            _identity_of_url(part) if "://" in part else part for part in _chain(value)
        )
    if isinstance(value, Mapping):
        # The file is the same with or without a login.
        items = {str(key): item for key, item in value.items() if key != "anon"}
        return str(
            {key: _identity_of(items[key]) for key in sorted(items) if not is_secret_key(key)}
        )
    if isinstance(value, list | tuple):
        secret = len(value) == 2 and isinstance(value[0], str) and _SECRET_KEY.search(value[0])
        return str([_identity_of(item) for item in value[: 1 if secret else None]])
    if isinstance(value, fsspec.AbstractFileSystem):
        return _identity_of([str(value.protocol), value.storage_args, value.storage_options])
    return repr(value)


def _identity_of_url(part: str) -> str:
    scheme, _, rest, query = _split(part)
    pairs = [
        pair for pair in query.split("&") if not _SECRET_IN_QUERY.search(pair.partition("=")[0])
    ]
    return f"{scheme}://{rest}?{'&'.join(pairs)}"
