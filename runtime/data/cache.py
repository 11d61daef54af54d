"""Where tokens are cached between runs, for this user alone, and how runs that want the same wait for each other."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kaitoc.runtime.data.tokens import DamagedTokens, find_tokens, is_of_tokens, read_tokens, require_whole
from kaitoc.runtime.notes import note

CACHE_VARIABLE = "KAITOC_CACHE_DIR"
_XDG_VARIABLE = "XDG_CACHE_HOME"
_FOLDER = "tokens"
_OWNER_ALONE = 0o700
_LOCK_SECONDS = 1800.0
_POLL_SECONDS = 0.2
_UNUSED_SECONDS = 30 * 24 * 3600.0
_LOCK = re.compile(r"[0-9a-f]{32}\.lock")


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of cached tokens, made when it is missing; None, and a line that says why, without one.

    It lies in `KAITOC_CACHE_DIR`, else where the XDG specification has it. A folder that others can write is not used.
    """
    try:
        folder = _root(environment) / _FOLDER
        folder.mkdir(mode=_OWNER_ALONE, parents=True, exist_ok=True)
        state = folder.stat()
        if state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o022:
            raise PermissionError("other users can write to it")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("it is not writable")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        _tell(f"tokens are not cached: {reason}; {CACHE_VARIABLE} names a folder for them")
        return None
    return folder


def _root(environment: Mapping[str, str]) -> Path:
    """Return the folder of all that is cached; raises `RuntimeError` for a user without home."""
    stated, shared = environment.get(CACHE_VARIABLE), environment.get(_XDG_VARIABLE, "")
    if stated:
        return Path(stated).expanduser()
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "kaitoc"


def cached_file(folder: Path, key: str) -> Path | None:
    """Return the file of a key's tokens, None when none is whole; one that is damaged is named and removed."""
    for file in find_tokens(folder, key):
        try:
            require_whole(file)
            read_tokens(file)
        except DamagedTokens as error:
            _tell(f"{file} is damaged ({error}): tokenizing the data again")
            file.unlink(missing_ok=True)
        else:
            with suppress(OSError):
                os.utime(file)  # when it was used last
            return file
    return None


def remove_unused(folder: Path) -> None:
    """Remove what no run used for 30 days, and what killed runs left: files by this program's names, and no others."""
    before = time.time() - _UNUSED_SECONDS
    with suppress(OSError):
        for file in list(folder.iterdir()):
            with suppress(OSError):  # another run removes it too
                state = file.lstat()
                if not stat.S_ISREG(state.st_mode) or state.st_uid != os.getuid() or state.st_mtime > before:
                    continue
                if _LOCK.fullmatch(file.name):
                    _remove_free(file)
                elif is_of_tokens(file.name):
                    file.unlink()


def _remove_free(lock: Path) -> None:
    """Remove a lock file that no run holds."""
    number = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(lock, number)
    finally:
        os.close(number)


@contextmanager
def locked(folder: Path, key: str) -> Iterator[None]:
    """Wait while another run makes the same tokens, for half an hour at most; what is then made twice is equal.

    The lock is the kernel's, so that one of a run that was killed is free. Where storage has no locks, nothing waits.
    """
    place = folder / f"{key}.lock"
    number = _acquired(place)
    try:
        yield
    finally:
        if number is not None:
            _remove(place, number)  # while it is held; whoever waits for it makes another
            os.close(number)


def _acquired(place: Path) -> int | None:
    """Return the lock file that this run now holds, None where it holds none."""
    end, is_told = time.monotonic() + _LOCK_SECONDS, False
    while time.monotonic() < end:
        try:
            number = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(place, number):
                return number
            os.close(number)
        except BlockingIOError:
            os.close(number)
            if not is_told:
                _tell("another run is tokenizing the same data; waiting for it")
            is_told = True
            time.sleep(_POLL_SECONDS)
        except OSError:
            _remove(place, number)
            os.close(number)
            return None
    return None


def _remove(place: Path, number: int) -> None:
    with suppress(OSError):
        if _is_at(place, number):
            place.unlink()


def _is_at(place: Path, number: int) -> bool:
    """Return whether an open file is still the one of its name, which its last holder may have removed."""
    try:
        return os.path.samestat(place.lstat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _tell(line: str) -> None:
    note(f"kaitoc: {line}")
