"""Fetches training data from http(s) addresses: bounded, resumed where it broke off, and checked.

An address may end in `#sha256=HEX`, which the content must then have.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from kaitoc.compiler.core.redaction import redacted_address
from kaitoc.compiler.core.units import MIB
from kaitoc.runtime.data.digest import sha256_of
from kaitoc.runtime.data.discover import format_of
from kaitoc.runtime.failures import DataFailure, NetworkFailure, OutputFailure
from kaitoc.runtime.peers import decided

DOWNLOADS = "downloads"
MAX_BYTES = 64 << 30
MAX_REDIRECTS = 5
NUM_ATTEMPTS = 3
TIMEOUT_SECONDS = 30.0
_PAUSE_SECONDS = 1.0
_BLOCK_BYTES = MIB
_SUFFIX_OF_TYPE = {
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "text/csv": ".csv",
    "text/plain": ".txt",
}
_UNUSUAL = re.compile(r"[^\w.+ -]")
_MAX_NAME_CHARACTERS = 60
_WORTH_RETRYING = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """What a download may take."""

    max_bytes: int = MAX_BYTES
    max_redirects: int = MAX_REDIRECTS
    num_attempts: int = NUM_ATTEMPTS
    pause_seconds: float = _PAUSE_SECONDS


def is_address(path: str) -> bool:
    """Return whether a path of a plan names something to download."""
    return path.lower().startswith(("http://", "https://"))


def local_paths(
    paths: tuple[str, ...], folder: Path, *, reuse: bool, limits: DownloadLimits | None = None
) -> tuple[str, ...]:
    """Return paths with every address replaced by the file it was downloaded to.

    Raises `DataFailure` for an address that has no such file, `NetworkFailure` for one that may have it later.

    Each address has a folder of its own, so that files of one name do not overwrite each other. `reuse` takes a file
    that is there already. Of several processes, on all nodes, the main one downloads and the others wait for it.
    """
    addresses = [path for path in paths if is_address(path)]
    if not addresses:
        return paths

    def download() -> str:
        files = (fetch(address, folder, reuse=reuse, limits=limits) for address in addresses)
        return json.dumps([str(file.relative_to(folder)) for file in files])

    names = iter(json.loads(decided(download)))
    return tuple(str(folder / next(names)) if is_address(path) else path for path in paths)


def fetch(address: str, folder: Path, *, reuse: bool = False, limits: DownloadLimits | None = None) -> Path:
    """Download one address into a folder and return the file.

    Raises `DataFailure` or `NetworkFailure`, which tell nothing of the address's secrets.
    """
    limits = limits or DownloadLimits()
    plain, wanted = _split_checksum(address)
    place = folder / hashlib.sha256(plain.encode("utf-8")).hexdigest()[:16]
    finished = _finished(place) if reuse else None
    return finished if finished is not None else _fetched(plain, place, wanted, limits)


def _fetched(plain: str, place: Path, wanted: str | None, limits: DownloadLimits) -> Path:
    for attempt in range(limits.num_attempts):
        try:
            place.mkdir(parents=True, exist_ok=True)
            return _download(plain, place, wanted, limits)
        except urllib.error.HTTPError as error:
            error.close()
            failure = _answer_in_words(error.code)
            if error.code < 500 and error.code != 429:
                raise DataFailure(f"{redacted_address(plain)}: {failure}") from None
        except _WORTH_RETRYING as error:
            failure = str(getattr(error, "reason", "") or error) or type(error).__name__
        if attempt + 1 < limits.num_attempts:
            time.sleep(limits.pause_seconds * 2**attempt)
    raise NetworkFailure(
        f"{redacted_address(plain)}: cannot be downloaded in {limits.num_attempts} attempts: {failure}"
    )


def _answer_in_words(code: int) -> str:
    """Return an HTTP status in words, without the library's, which can hold an address."""
    if 300 <= code < 400:
        return "redirects to an address that is not followed"
    return f"the server says {code} {http.client.responses.get(code, '')}".rstrip()


def _split_checksum(address: str) -> tuple[str, str | None]:
    plain, fragment = urldefrag(address)
    name, _, value = fragment.partition("=")
    if name != "sha256":
        return plain, None
    if len(value) != 64 or set(value.lower()) - set("0123456789abcdef"):
        raise DataFailure(f"{redacted_address(plain)}: `#sha256=` must be followed by 64 hexadecimal digits")
    return plain, value.lower()


def _finished(place: Path) -> Path | None:
    if not place.is_dir():
        return None
    return next((file for file in sorted(place.iterdir()) if not file.name.startswith(".")), None)


def _download(address: str, place: Path, wanted: str | None, limits: DownloadLimits) -> Path:
    part, note = place / ".part", place / ".part.json"
    with _opened(address, part, note, limits) as (answer, offset):
        _require_room(address, answer, place, limits)
        _note_validator(answer, note)
        with part.open("ab" if offset else "wb") as stream:
            _copy(address, answer, stream, offset, limits)
        _require_complete(answer, part, offset)
        name = _file_name(address, answer)
    digest = sha256_of(part)
    if wanted is not None and digest != wanted:
        part.unlink()
        raise DataFailure(f"{redacted_address(address)}: the content's sha256 is {digest}, not {wanted}")
    previous = _finished(place)
    if previous is not None:
        previous.unlink()
    os.replace(part, place / name)
    note.unlink(missing_ok=True)
    return place / name


@contextmanager
def _opened(address: str, part: Path, note: Path, limits: DownloadLimits) -> Iterator[tuple[Any, int]]:
    """Ask for what is missing of a file; yield the answer and how many bytes are there already."""
    there = part.stat().st_size if part.exists() else 0
    validator = _validator(note)
    request = urllib.request.Request(address)  # noqa: S310  (`is_address` admits http and https alone)
    if there and validator:
        request.add_header("Range", f"bytes={there}-")
        request.add_header("If-Range", validator)
    opener = urllib.request.build_opener(_Redirects(limits.max_redirects))
    with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
        is_rest = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
        yield answer, there if is_rest else 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, to http and https alone, and never from https to http."""

    max_repeats = max_redirections = 1000  # the library's own limits, whose messages would tell the address

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._num_followed = 0

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request to follow; raises `DataFailure` when it must not be followed."""
        self._num_followed += 1
        origin = redacted_address(req.full_url)
        if self._num_followed > self._limit:
            raise DataFailure(f"{origin}: more than {self._limit} redirects")
        if not is_address(newurl) or (req.type == "https" and not newurl.lower().startswith("https:")):
            raise DataFailure(f"{origin}: redirects to {redacted_address(newurl)}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_room(address: str, answer: Any, place: Path, limits: DownloadLimits) -> None:
    stated = answer.headers.get("Content-Length", "")
    num_bytes = int(stated) if stated.isdigit() else 0
    if num_bytes > limits.max_bytes:
        raise DataFailure(f"{redacted_address(address)}: {num_bytes:,} bytes; the limit is {limits.max_bytes:,}")
    free_bytes = shutil.disk_usage(place).free
    if num_bytes > free_bytes:
        raise OutputFailure(
            f"{redacted_address(address)}: {num_bytes:,} bytes; only {free_bytes:,} are free in {place}"
        )


def _copy(address: str, answer: Any, stream: Any, offset: int, limits: DownloadLimits) -> None:
    num_bytes = offset
    while block := answer.read(_BLOCK_BYTES):
        num_bytes += len(block)
        if num_bytes > limits.max_bytes:
            raise DataFailure(f"{redacted_address(address)}: larger than {limits.max_bytes:,} bytes")
        stream.write(block)


def _require_complete(answer: Any, part: Path, offset: int) -> None:
    """Raise `OSError`, which is worth another attempt, when the connection ended too early."""
    stated = answer.headers.get("Content-Length", "")
    if stated.isdigit() and part.stat().st_size != offset + int(stated):
        raise OSError("the connection ended before the file did")


def _validator(note: Path) -> str:
    """Return the validator that tells whether a file on the server is still the one that was begun."""
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _note_validator(answer: Any, note: Path) -> None:
    tag = answer.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
    note.write_text(json.dumps({"validator": validator}), encoding="utf-8")


def _file_name(address: str, answer: Any) -> str:
    """Return a name with a suffix that says the format: the address's own, or by the content's type."""
    stated = os.path.basename(unquote(urlsplit(address).path)).lstrip(".")
    name = _UNUSUAL.sub("_", stated)[-_MAX_NAME_CHARACTERS:].lstrip(".") or "data"
    if format_of(Path(name)) is not None:
        return name
    return name + _SUFFIX_OF_TYPE.get(answer.headers.get_content_type(), "")
