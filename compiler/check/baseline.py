"""Baselines: the findings that were there when kaitoc was adopted, so that only new ones fail.

An entry is keyed by path, code, object and pointer and not by line, so it survives edits elsewhere in the file. It
counts how many such findings there were; what comes on top is new.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, SourceError, write_atomically
from kaitoc.compiler.core.tuples import NamedTuple

VERSION = 1


class BaselineError(KaitocError):
    """A baseline file that cannot be used; `str(error)` says where and why."""


class FindingKey(NamedTuple):
    """What a finding is known by; `path` is relative to the baseline's folder, with forward slashes."""

    path: str
    code: str
    object: str
    pointer: str


@dataclass(frozen=True)
class Baseline:
    """How many findings of each key are accepted; `root` is the folder that the paths are relative to."""

    root: str
    counts: Mapping[FindingKey, int]

    def new_among(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return the findings of a file that are new, in order; of equal ones the first are known."""
        met: Counter[FindingKey] = Counter()
        new = []
        for finding in sorted(findings, key=lambda finding: finding.sort_key):
            key = _key(finding, self.root)
            met[key] += 1
            if met[key] > self.counts.get(key, 0):
                new.append(finding)
        return new

    def num_gone(self, path: str, num_known: int) -> int:
        """Count a file's accepted findings that are gone, given how many are still found."""
        return self._counts_by_path[_relative(path, self.root)] - num_known

    def num_in_missing_files(self) -> int:
        """Count the accepted findings of files that no longer exist."""
        return sum(count for path, count in self._counts_by_path.items() if self._is_missing(path))

    def still_found(self, findings: Iterable[Finding], checked_paths: Iterable[str]) -> Baseline:
        """Return the baseline without what is gone; of files that were not checked and are there, all is kept."""
        found = Counter(_key(finding, self.root) for finding in findings)
        checked = {_relative(path, self.root) for path in checked_paths}
        counts = {}
        for key, count in self.counts.items():
            if key.path in checked:
                count = min(count, found[key])
            if count and not self._is_missing(key.path):
                counts[key] = count
        return Baseline(self.root, counts)

    @property
    def num_findings(self) -> int:
        """Count the accepted findings of all files."""
        return sum(self.counts.values())

    @cached_property
    def _counts_by_path(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for key, count in self.counts.items():
            counts[key.path] += count
        return counts

    def _is_missing(self, path: str) -> bool:
        return not os.path.exists(os.path.join(self.root, path))


def baseline_of(findings: Iterable[Finding], path: str) -> Baseline:
    """Return the baseline that accepts these findings, to be saved at `path`."""
    root = os.path.dirname(os.path.abspath(path))
    return Baseline(root, Counter(_key(finding, root) for finding in findings))


def load_baseline(path: str) -> Baseline:
    """Read a baseline file; raises `BaselineError` when it is missing or is none."""
    import json

    try:
        data = json.loads(Source.read(path).text)
    except SourceError as error:
        raise BaselineError(str(error), path=path, line=error.line, column=error.column) from error
    except json.JSONDecodeError as error:
        raise BaselineError(
            f"{path}: not valid JSON: {error}", path=path, line=error.lineno, column=error.colno
        ) from error
    except (ValueError, RecursionError) as error:
        raise BaselineError(f"{path}: not valid JSON: {error}", path=path) from error
    if not isinstance(data, dict) or data.get("version") != VERSION or not isinstance(data.get("findings"), list):
        raise BaselineError(
            f"{path}: not a kaitoc baseline of version {VERSION}; write a new one with `kaitoc baseline`", path=path
        )
    counts: Counter[FindingKey] = Counter()
    for index, entry in enumerate(data["findings"]):
        key, count = _read_entry(path, index, entry)
        counts[key] += count
    return Baseline(os.path.dirname(os.path.abspath(path)), counts)


def save_baseline(baseline: Baseline, path: str) -> None:
    """Write a baseline file atomically; equal baselines give equal bytes. Raises `OSError`."""
    write_atomically(path, baseline_text(baseline).encode("ascii"))


def baseline_text(baseline: Baseline) -> str:
    """Return the text of a baseline file, in ASCII."""
    import json

    entries = [{**key._asdict(), "count": count} for key, count in sorted(baseline.counts.items()) if count > 0]
    return json.dumps({"version": VERSION, "findings": entries}, indent=2) + "\n"


def _key(finding: Finding, root: str) -> FindingKey:
    owner = finding.object
    name = f"{owner.kind}/{owner.namespace}/{owner.name}" if owner else ""
    return FindingKey(_relative(finding.source.path, root), finding.code, name, finding.pointer)


def _relative(path: str, root: str) -> str:
    try:
        return os.path.relpath(path, root).replace(os.sep, "/")
    except ValueError:  # another drive on Windows
        return path.replace(os.sep, "/")


def _read_entry(path: str, index: int, entry: Any) -> tuple[FindingKey, int]:
    if not isinstance(entry, dict) or entry.keys() != {*FindingKey._fields, "count"}:
        raise BaselineError(
            f"{path}: findings[{index}]: expected the keys {', '.join(FindingKey._fields)} and count", path=path
        )
    count = entry.pop("count")
    texts_ok = all(isinstance(value, str) for value in entry.values())
    if not texts_ok or not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise BaselineError(f"{path}: findings[{index}]: expected strings, and a count of at least 1", path=path)
    return FindingKey(**entry), count
