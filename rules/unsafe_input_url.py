"""An input URL that Kaito refuses to fetch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._dataset import input_urls

CODE = "KT315"
NAME = "unsafe-input-url"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_PLAIN_URL = re.compile(r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*)(?:/[\w./-]*)?", re.ASCII)
"""A URL that names a host in letters and nothing unusual: it needs no parser, whose import takes 4 ms."""

_METADATA_HOSTS = frozenset(("metadata", "metadata.google.internal", "metadata.azure.internal", "instance-data"))


def check(job: Job) -> Iterator[Fault]:
    """Yield an input URL that Kaito refuses to fetch."""
    for field in input_urls(job):
        reason = _refusal(field.text or "")
        if reason:
            yield Fault(field.value, f"{reason}; Kaito's webhook refuses the Workspace")


def _refusal(url: str) -> str:
    """Return why a URL is refused, empty when it is not."""
    plain = _PLAIN_URL.fullmatch(url)
    if plain is not None:
        return _named_host_refusal(plain[1])
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "this is not a URL"
    if parts.scheme not in ("http", "https"):
        return f"`{parts.scheme}` is not http or https" if parts.scheme else "the URL has no scheme, such as https"
    if not host:
        return "the URL names no host"
    host = host.lower().rstrip(".")
    return _named_host_refusal(host) or _address_refusal(host)


def _named_host_refusal(host: str) -> str:
    if host == "localhost" or host.endswith(".localhost"):
        return "`localhost` is the training pod itself"
    if host in _METADATA_HOSTS:
        return f"`{host}` is a cloud metadata service"
    return ""


def _address_refusal(host: str) -> str:
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if address.is_loopback or address.is_private or address.is_link_local or address.is_unspecified:
        return f"`{host}` is a private, loopback or link-local address"
    return ""
