"""What a check comes to: file by file, or as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import SourceError
from kaitoc.compiler.job.summary import JobSummary


@dataclass(slots=True)
class FileOutcome:
    """What was found in one file, sorted, and the jobs it brings in.

    `error` says why it could not be read. `note`, and the `notes` on its jobs, which many files share, are for stderr.
    `beside` is what its jobs find in files that the user did not name.
    """

    path: str
    findings: list[Finding] = field(default_factory=list)
    jobs: list[JobSummary] = field(default_factory=list)
    note: str = ""
    notes: list[str] = field(default_factory=list)
    error: SourceError | None = None
    num_suppressed: int = 0
    num_kaito_objects: int = 0
    beside: list[FileOutcome] = field(default_factory=list)

    @property
    def all_notes(self) -> tuple[str, ...]:
        """List what is for stderr."""
        return (*filter(None, [self.note]), *(f"note: {note}" for note in self.notes))

    def move(self, findings: Iterable[Finding]) -> None:
        """Take findings that were moved to other files in place of those that were found."""
        by_path: dict[str, list[Finding]] = {self.path: []}
        for finding in sorted(findings, key=lambda finding: finding.sort_key):
            by_path.setdefault(finding.source.path, []).append(finding)
        self.findings = by_path.pop(self.path)
        self.beside = [FileOutcome(path, moved) for path, moved in by_path.items()]


Keep = Callable[[int, FileOutcome], None]
"""Takes what was found in the file of a number; what is told later of the same file holds."""


@dataclass(slots=True)
class Outcome:
    """What was found in every file by the file's number, for those who need all of it at once."""

    found: dict[int, FileOutcome] = field(default_factory=dict)

    def keep(self, number: int, checked: FileOutcome) -> None:
        """Take what was found in the file of a number."""
        self.found[number] = checked

    def finished(self) -> dict[int, FileOutcome]:
        """Hand over itself: an outcome in memory is sent to another process as it is."""
        return self.found

    def take(self, outcomes: dict[int, FileOutcome]) -> None:
        """Take what another process found."""
        self.found = outcomes

    @property
    def checked(self) -> list[FileOutcome]:
        """List the outcome of each file, in input order."""
        return [self.found[number] for number in sorted(self.found)]

    @property
    def findings(self) -> list[Finding]:
        """List all findings in order of files."""
        return [finding for checked in self.all_files() for finding in checked.findings]

    @property
    def jobs(self) -> list[JobSummary]:
        """List the summaries of all jobs in order of files."""
        return [job for checked in self.checked for job in checked.jobs]

    @property
    def files(self) -> list[str]:
        """List the files that were read; `errors` has the others."""
        return [checked.path for checked in self.checked if not checked.error]

    @property
    def errors(self) -> list[SourceError]:
        """List the reasons why other files could not be read."""
        return [checked.error for checked in self.checked if checked.error]

    def all_files(self) -> Iterator[FileOutcome]:
        """Yield what was found, that in files beside a file after what was found in it."""
        for checked in self.checked:
            yield checked
            yield from checked.beside
