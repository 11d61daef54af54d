"""What Kaito's webhook says of an image reference: `reference.ParseDockerRef` of github.com/distribution/reference 0.6.

A reference is completed as Docker completes it (`phi` is `docker.io/library/phi`), and the whole must fit the grammar.
"""

from __future__ import annotations

import re

from kaitoc.compiler.core.annotations import Literal, TypeAlias

ImageRefusal: TypeAlias = Literal["invalid", "upper case", "image ID", "too long", "digest"]
"""Why the webhook refuses an image reference."""

_PLAIN = re.compile(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]+(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)+:[a-z0-9][a-z0-9.-]*")
"""A registry, a repository and a tag with nothing unusual, which need no parser where they are short."""
_MAX_PLAIN = 100
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REMOTE_NAME = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_DIGEST = r"(?P<algorithm>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*):(?P<hex>[0-9a-fA-F]{32,})"
_REFERENCE = rf"(?a:(?:{_DOMAIN}/)?(?P<path>{_REMOTE_NAME})(?::\w[\w.-]{{0,127}})?(?:@{_DIGEST})?)"
_IDENTIFIER = r"[a-f0-9]{64}"
_HEX_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
_MAX_PATH = 255
_DOCKER_HUB = "docker.io"


def image_refusal(text: str) -> ImageRefusal | None:
    """Return why Kaito's webhook refuses an image reference, None when it takes it."""
    if len(text) <= _MAX_PLAIN and _PLAIN.fullmatch(text):
        return None
    if re.fullmatch(_IDENTIFIER, text):
        return "image ID"
    domain, remainder = _split_domain(text)
    remote = remainder.partition(":")[0]
    if remote.lower() != remote:
        return "upper case"
    found = re.fullmatch(_REFERENCE, f"{domain}/{remainder}")
    if found is None:
        return "invalid"
    if len(found["path"]) > _MAX_PATH:
        return "too long"
    return None if _is_digest(found["algorithm"], found["hex"]) else "digest"


def _split_domain(text: str) -> tuple[str, str]:
    """Return the registry and the rest, both as Docker completes them."""
    first, slash, rest = text.partition("/")
    is_domain = bool(slash) and (first == "localhost" or "." in first or ":" in first or first.lower() != first)
    domain, remainder = (first, rest) if is_domain else (_DOCKER_HUB, text)
    if domain == "index.docker.io":
        domain = _DOCKER_HUB
    if domain == _DOCKER_HUB and "/" not in remainder:
        remainder = f"library/{remainder}"
    return domain, remainder


def _is_digest(algorithm: str | None, digits: str | None) -> bool:
    """Return whether a digest, if there is one, is of a known algorithm, of its length and in lower case."""
    if algorithm is None or digits is None:
        return True
    return _HEX_DIGITS.get(algorithm) == len(digits) and digits.lower() == digits
