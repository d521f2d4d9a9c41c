"""What of URLs, options and other people's messages may be shown: no password, no signature."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["redact", "redact_record", "scrub"]

_SECRET_KEY = re.compile(
    r"key|secret|token|password|passwd|passphrase|credential|connection_string|sas|auth|cookie"
    r"|signature",
    re.I,
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.I)

# Shorter ones would blot out ordinary words, and protect nothing.
_LEAST_SECRET = 4


def redact(url: str) -> str:
    """Return a URL, chained or not, without user, password, fragment and its query's values."""
    return "::".join(_redact_part(part) for part in url.split("::"))


def scrub(text: str, url: str, options: Mapping[str, Any]) -> str:
    """Remove secrets from a text that somebody else wrote.

    Parameters
    ----------
    text : str
        Such as the message of a store's error.
    url : str
        The URL that it is about; all other URLs in the text are redacted too.
    options : mapping
        Storage options; those whose name suggests a secret are one.

    Returns
    -------
    str
    """
    text = _URL.sub(lambda found: redact(found.group()), text.replace(url, redact(url)))
    for secret in sorted(_secrets_of_url(url) + _secrets(options), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def redact_record(record: logging.LogRecord) -> bool:
    """Redact the URLs in a log record: a filter for the loggers of others."""
    message = record.getMessage()
    record.msg, record.args = _URL.sub(lambda found: redact(found.group()), message), ()
    return True


def _redact_part(part: str) -> str:
    if "://" not in part:
        return part
    scheme = part.partition("://")[0]
    on_web = scheme in ("http", "https")
    try:
        url = urlsplit(part, allow_fragments=on_web)
    except ValueError:
        return f"{scheme}://***"
    user, _, host = url.netloc.rpartition("@")
    if user and ":" not in user and not on_web:
        host = url.netloc  # abfs://container@account
    query = "&".join(_without_value(pair) for pair in url.query.split("&"))
    return f"{scheme}://{host}{url.path}{'?' * bool(query)}{query}"


def _without_value(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}=***" if equals else "***" * bool(pair)


def _secrets_of_url(url: str) -> list[str]:
    """Password and query values, as they stand in the URL and decoded."""
    found: list[str] = []
    for part in url.split("::"):
        _, mark, rest = part.partition("://")
        if not mark:
            continue
        user, _, _ = rest.partition("/")[0].rpartition("@")
        found.append(user.partition(":")[2])
        found += [pair.partition("=")[2] or pair for pair in rest.partition("?")[2].split("&")]
    found += [unquote(secret) for secret in found]
    return [secret for secret in found if len(secret) >= _LEAST_SECRET]


def _secrets(options: Any, *, secret: bool = False) -> list[str]:
    """Every text in the options that stands under a name that suggests a secret."""
    if isinstance(options, bytes):
        options = options.decode("latin-1")
    if isinstance(options, str):
        return [options] if secret and len(options) >= _LEAST_SECRET else []
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
