"""Tokens made once: between runs, by a cache, and by one process for all of its node, by files that the others read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from kaitoc.runtime.data.cache import cache_folder, cached_file, locked, remove_unused
from kaitoc.runtime.data.source import Source
from kaitoc.runtime.data.tokens import DamagedTokens, Tokens, read_tokens, write_tokens
from kaitoc.runtime.failures import RunFailure
from kaitoc.runtime.notes import note
from kaitoc.runtime.peers import decided_on_node, num_on_node, wait_for_node


@dataclass(frozen=True, slots=True)
class _Made:
    """Tokens, and the file that holds them if one does."""

    tokens: Tokens
    file: Path | None


def tokens_of(sources: Sequence[Source], *, use_cache: bool) -> list[Tokens]:
    """Return the tokens of each source; raises `RunFailure`, in every process of a node.

    All rows are read before any is tokenized.
    """
    if num_on_node() == 1:
        return [made.tokens for made in _cached_or_made(sources, use_cache=use_cache)]
    mine: list[_Made] = []
    with ExitStack() as temporary:

        def make() -> str:
            mine.extend(_cached_or_made(sources, use_cache=use_cache))
            return json.dumps(_files(mine, temporary))

        files = json.loads(decided_on_node(make))
        if not mine:
            tokens = [_read(Path(file)) for file in files] if files else _tokenized(sources)
        else:
            tokens = [made.tokens for made in mine]
        wait_for_node()  # temporary files can go
    return tokens


def _files(made: Sequence[_Made], temporary: ExitStack) -> list[str]:
    """Return files that the node's other processes can read, none where none can be written."""
    files = [each.file for each in made]
    try:
        if None in files:
            folder = Path(temporary.enter_context(tempfile.TemporaryDirectory(prefix="kaitoc-")))
            files = [each.file or write_tokens(each.tokens, folder, str(place)) for place, each in enumerate(made)]
    except OSError:
        return []
    return [str(file) for file in files]


def _read(file: Path) -> Tokens:
    try:
        return read_tokens(file)
    except DamagedTokens as error:
        raise RunFailure(f"{file}: cannot read what the first process of the node tokenized: {error}") from error


def _cached_or_made(sources: Sequence[Source], *, use_cache: bool) -> list[_Made]:
    folder = cache_folder() if use_cache else None
    if folder is None:
        return [_Made(tokens, None) for tokens in _tokenized(sources)]
    keys = [source.key for source in sources]
    with locked(folder, keys[0]):
        files = [cached_file(folder, key) for key in keys]
        remove_unused(folder)
        fresh = iter(_tokenized([source for source, file in zip(sources, files, strict=True) if file is None]))
        return [
            _Made(_from_cache(file), file) if file is not None else _kept(next(fresh), folder, key)
            for key, file in zip(keys, files, strict=True)
        ]


def _tokenized(sources: Sequence[Source]) -> list[Tokens]:
    rows = [source.read() for source in sources]
    return [source.tokenized(of_source) for source, of_source in zip(sources, rows, strict=True)]


def _from_cache(file: Path) -> Tokens:
    tokens = _read(file)
    return replace(tokens, summary=f"{tokens.summary}; tokens from cache")


def _kept(tokens: Tokens, folder: Path, key: str) -> _Made:
    """Write tokens into the cache and return them as the file has them; a cache that is full stops no run."""
    try:
        file = write_tokens(tokens, folder, key)
        return _Made(read_tokens(file), file)
    except (OSError, DamagedTokens) as error:
        note(f"kaitoc: tokens are not cached: {getattr(error, 'strerror', None) or error}")
        return _Made(tokens, None)
