"""What Kaito's webhook says of a data source's URL: Go's `url.ParseRequestURI`, then Kaito's list of forbidden hosts.

Sources: Kaito v0.12 `api/v1beta1/workspace_validation.go` (validateDataSourceURL), Go 1.26 `net/url/url.go`.
Earlier releases of Kaito do not look at URLs.
"""

from __future__ import annotations

import re

from kaitoc.compiler.core.annotations import Literal, TypeAlias

FIRST_RELEASE = "v0.12"
"""The first release whose webhook judges URLs."""

UrlRefusal: TypeAlias = Literal["invalid", "scheme", "local host", "private address"]
"""Why the webhook refuses a URL."""

_PLAIN_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
_PLAIN_PATH = _PLAIN_HOST | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_/")

# Patterns of what is unusual are compiled where they are used: together they take as long as a file to check.
_SCHEME = r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*):(?P<rest>(?s:.*))"
_CONTROL = r"[\x00-\x1f\x7f]"
_BAD_ESCAPE = r"%(?![0-9a-fA-F]{2})"
_USER = r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*"
_HOST = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:\[\]<>\"]|[^\x00-\x7f]|%25|%[89a-fA-F][0-9a-fA-F])*"
_ZONE = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:\[\]<>\"]|[^\x00-\x7f]|%[0-9a-fA-F]{2})*"
_ESCAPE = r"%[0-9a-fA-F]{2}"
_PORT = r"(?::[0-9]*)?"
_ZONE_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:[]<>\" %")
_PRIVATE_NETWORKS = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "224.0.0.0/24",
                     "::1/128", "fc00::/7", "fe80::/10")  # fmt: skip
_METADATA_HOSTS = frozenset(("metadata.google.internal", "metadata.google", "instance-data.ec2.internal"))


def url_refusal(url: str) -> UrlRefusal | None:
    """Return why Kaito's webhook refuses a URL, None when it takes it."""
    plain_host = _plain_host(url)
    if plain_host:
        return _host_refusal(plain_host)
    found = re.fullmatch(_SCHEME, url)
    if found is None or re.search(_CONTROL, url):
        return "invalid"
    scheme = found["scheme"].lower()
    host = _parsed_host(scheme, found["rest"])
    if not host:
        return "invalid"
    if scheme not in ("http", "https"):
        return "scheme"
    return _host_refusal(_without_port(host).lower())


def _plain_host(url: str) -> str:
    """Return the host of a URL that names it in letters and has nothing unusual, so needs no parser; else nothing."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    if scheme not in ("http", "https") or not _PLAIN_HOST.issuperset(host) or not _PLAIN_PATH.issuperset(path):
        return ""
    labels = host.split(".")
    return host if len(labels) > 1 and all(labels) and labels[-1][0].isalpha() else ""


def _parsed_host(scheme: str, rest: str) -> str:
    """Return the host with its port, empty where Go finds none or an error."""
    before_query = rest.partition("?")[0]
    if not before_query.startswith("//"):
        return ""
    authority, slash, path = before_query[2:].partition("/")
    if re.search(_BAD_ESCAPE, slash + path):
        return ""
    user, _, host = authority.rpartition("@")
    if not re.fullmatch(_USER, user) or re.search(_BAD_ESCAPE, user):
        return ""
    return _checked_host(scheme, host)


def _checked_host(scheme: str, host: str) -> str:
    bracket = host.rfind("[")
    if bracket > 0:
        return ""
    if bracket == 0:
        return _checked_literal(host)
    colon = host.find(":")
    if colon >= 0 and scheme not in ("http", "https"):
        colon = host.rfind(":")
    if colon >= 0 and not re.fullmatch(_PORT, host[colon:]):
        return ""
    return _unescaped(host) if re.fullmatch(_HOST, host) else ""


def _checked_literal(host: str) -> str:
    """Return an address in brackets with its zone and port, empty where it is no IPv6 address."""
    close = host.rfind("]")
    if close < 0 or not re.fullmatch(_PORT, host[close + 1 :]):
        return ""
    address, percent, zone = host[1:close].partition("%25")
    if not re.fullmatch(_HOST, address) or not _is_zone(percent + zone):
        return ""
    plain = _unescaped(address)
    if (percent and not zone) or not _is_ipv6(plain):
        return ""
    return f"[{plain}{_unescaped(percent + zone)}]{host[close + 1 :]}"


def _is_zone(zone: str) -> bool:
    """Return whether a zone, from its `%25` on, escapes nothing that a host could not hold as it is."""
    return bool(re.fullmatch(_ZONE, zone)) and all(
        int(found[1:], 16) in _ZONE_BYTES for found in re.findall(_ESCAPE, zone)
    )


def _unescaped(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # 4 ms, for a URL that hardly anybody writes

    return unquote(text, errors="surrogateescape")


def _without_port(host: str) -> str:
    colon = host.rfind(":")
    if colon >= 0 and re.fullmatch(_PORT, host[colon:]):
        host = host[:colon]
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _host_refusal(host: str) -> UrlRefusal | None:
    if host == "localhost" or host.endswith(".localhost") or host in _METADATA_HOSTS:
        return "local host"
    literal = host.partition("%")[0]
    may_be_address = ":" in literal or literal[-1:].isdigit()
    return "private address" if may_be_address and _is_private(literal) else None


def _is_ipv6(text: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address  # 3 ms, for what hardly anybody writes

    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _is_private(text: str) -> bool:
    """Return whether a text is an address that Go calls loopback, private or link-local."""
    from ipaddress import IPv6Address, ip_address, ip_network

    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    found = mapped or address
    if isinstance(found, IPv6Address) and found.packed[0] == 0xFF:
        return found.packed[1] & 0x0F == 2
    return any(found in ip_network(network) for network in _PRIVATE_NETWORKS)
