"""Takes secrets out of text that is shown or kept: credentials in addresses, what follows the name of a secret."""

from __future__ import annotations

import re

from kaitoc.compiler.core.patterns import pattern

HIDDEN = "***"
_ADDRESS = pattern(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_NAMED = pattern(
    r"((?:token|(?:secret|password|passwd|credential|api[_-]?key|access[_-]?key|authorization)s?)[\"']?\s*[=:]\s*"
    r"[\"']?(?:(?:bearer|basic)\s+)?)[^\s\"',;&*]+",
    re.IGNORECASE,
)
_SECRET_NAME = pattern(r"(token|secret|password|credential|api[_-]?key)s?$", re.IGNORECASE)
_OF_A_VOCABULARY = ("eos_token", "pad_token")
_SHOWN = (
    (
        ("token", "passw", "key"),
        pattern(
            r"(?P<before>(?P<name>[\w.-]*(?:token|password|passwd|api[_-]?key|access[_-]?key))[\"']?\s*[:=]\s*[\"']?)"
            r"(?!(?:true|false|null|~)\b)[^\s\"',;&}\]]+",
            re.IGNORECASE,
        ),
    ),
    (("://",), pattern(r"(?P<before>(?P<name>)://)[^/\s@\"']+(?=@)")),
    (
        ("?", "&"),
        pattern(
            r"(?P<before>(?P<name>)[?&][\w.%-]*(?:sig|signature|token|key|credential|secret|password)=)[^&\s\"'}\]]+",
            re.IGNORECASE,
        ),
    ),
    (("hf_",), pattern(r"(?P<before>(?P<name>)\bhf_)\w{16,}")),
)
"""Secrets in a line of a manifest: values of options, users of addresses, signatures in their queries, hub tokens.

None of them stands in a line without one of its words, and looking for words is quick.
"""
_WORDS = tuple(word for words, _ in _SHOWN for word in words)


def is_secret(name: str) -> bool:
    """Return whether an argument's name says that its value is a secret."""
    return name not in _OF_A_VOCABULARY and _SECRET_NAME.search(name) is not None


def redacted_address(address: str) -> str:
    """Return an address without user, password, query and fragment, any of which may be a credential.

    A signed address (an Azure SAS, an S3 presigned URL) carries its signature in the query.
    """
    if "://" not in address:
        return address
    from urllib.parse import urlsplit, urlunsplit  # what shows a manifest's own lines does without

    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port is not None else host
    except ValueError:
        return HIDDEN
    return urlunsplit((parts.scheme, place, parts.path, HIDDEN if parts.query else "", ""))


def masked(text: str) -> str:
    """Put an asterisk in place of each character of a secret in a line of a manifest, so that columns stay."""
    folded = text.casefold()
    for word in _WORDS:
        if word in folded:
            break
    else:
        return text
    for words, secret in _SHOWN:
        if any(word in folded for word in words):
            text = secret.sub(_mask, text)
    return text


def _mask(found: re.Match[str]) -> str:
    if found["name"] in _OF_A_VOCABULARY:
        return found[0]
    return found["before"] + "*" * (len(found[0]) - len(found["before"]))


def redacted_text(text: str) -> str:
    """Return a text, such as a line of a log, with every address and every named secret in it redacted."""
    plain = _ADDRESS.sub(lambda found: redacted_address(found[0]), text)
    return _NAMED.sub(lambda found: found[1] + HIDDEN, plain)
