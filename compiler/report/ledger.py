"""A check's findings as the texts that reports are made of, put away file by file.

Of each file only the place of its record is held, eight bytes, so that memory does not grow with what is found.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence

from kaitoc.compiler.check.outcome import FileOutcome
from kaitoc.compiler.check.request import Accepted
from kaitoc.compiler.check.rule_info import RuleInfo
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.spool import Spool
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.report.model import FormatOptions, Totals, load_format

_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Wanted:
    """The formats to make texts in, each with whether it is colored, and what they must know of rules and options."""

    formats: tuple[tuple[str, bool], ...]
    strict: bool = False
    rule_codes: tuple[str, ...] = ()

    def options(self, color: bool) -> FormatOptions:
        """Build a format's options for an output with or without color."""
        return FormatOptions(color, self.strict, {code: index for index, code in enumerate(self.rule_codes)})


class _Record(NamedTuple):
    """What is put away of one file; `texts` and `job_texts` are in the order of the formats."""

    totals: tuple[int, ...]
    num_kaito_objects: int
    rules: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    error: str
    texts: tuple[str, ...]
    job_texts: tuple[tuple[str, ...], ...]


class LedgerState(NamedTuple):
    """Where a ledger's records are and what they add up to, as one process tells another.

    `sums` are the totals of a report, then the numbers of Kaito's objects and of files that could not be read.
    `remarked` are the places of records with a note or an error.
    """

    places: array[int]
    beside: list[tuple[str, int]]
    sums: array[int]
    remarked: array[int]


class Ledger:
    """What was found in some of the files of a check."""

    def __init__(
        self, paths: Sequence[str], wanted: Wanted, accepted: Accepted | None, *, on_disk: bool = False
    ) -> None:
        """Make an empty ledger for files; one that another process fills must be on disk."""
        self.paths = paths
        sums = array("q", [0]) * (len(Totals._fields) + 2)
        self.state = LedgerState(array("q", [_NOWHERE]) * len(paths), [], sums, array("q"))
        self._spool = Spool(on_disk=on_disk)
        self._formats = [(load_format(name), wanted.options(color)) for name, color in wanted.formats]
        self._strict = wanted.strict
        self._accepted = accepted

    def keep(self, number: int, checked: FileOutcome) -> None:
        """Put away what was found in the file of a number, in place of what was found before."""
        before = self.state.places[number]
        if before != _NOWHERE:
            self._add(self.read(before), -1)
        self.state.places[number] = self._put(self._record(checked, num_files=int(not checked.error)))
        for partner in checked.beside:
            self.state.beside.append((partner.path, self._put(self._record(partner, num_files=0))))

    def _put(self, record: _Record) -> int:
        place = self._spool.append(tuple(record))
        self._add(record, 1)
        if record.notes or record.error:
            self.state.remarked.append(place)
        return place

    def _add(self, record: _Record, times: int) -> None:
        sums = self.state.sums
        for index, number in enumerate((*record.totals, record.num_kaito_objects, bool(record.error))):
            sums[index] += times * number

    def finished(self) -> LedgerState:
        """Flush the spool and return the state that finds its records."""
        self._spool.flush()
        return self.state

    def take(self, state: LedgerState) -> None:
        """Learn from the process that filled this ledger where the records are."""
        self.state = state

    def places(self) -> Iterator[int]:
        """Yield where the records are, in the order of the files; those of files beside them come last."""
        yield from (place for place in self.state.places if place != _NOWHERE)
        yield from (place for _, place in self.state.beside)

    def read(self, place: int) -> _Record:
        """Return the record at a place."""
        return _Record(*self._spool.read(place))

    def close(self) -> None:
        """Give up the records."""
        self._spool.close()

    def _record(self, checked: FileOutcome, num_files: int) -> _Record:
        findings = checked.findings if self._accepted is None else self._accepted.new_among(checked.findings)
        num_known = len(checked.findings) - len(findings)
        totals = Totals.of(
            findings,
            strict=self._strict,
            files=num_files,
            suppressed=checked.num_suppressed,
            baselined=num_known,
            gone=self._accepted.num_gone(checked.path, num_known) if self._accepted and not checked.error else 0,
            jobs=len(checked.jobs),
        )
        is_read = not checked.error
        return _Record(
            totals=tuple(totals),
            num_kaito_objects=checked.num_kaito_objects,
            rules=tuple((finding.code, finding.name) for finding in findings),
            notes=checked.all_notes,
            error=str(checked.error or ""),
            texts=tuple(format_.of_file(checked.path, findings, o) if is_read else "" for format_, o in self._formats),
            job_texts=tuple(tuple(format_.of_job(job, o) for job in checked.jobs) for format_, o in self._formats),
        )


class Ledgers:
    """The ledgers of a check as the contents of its report; neighbouring files are in one ledger."""

    def __init__(
        self,
        ledgers: Sequence[Ledger],
        wanted: Wanted,
        describe_rules: Callable[[], tuple[RuleInfo, ...]],
        num_gone_with_files: int = 0,
    ) -> None:
        self._ledgers = ledgers
        self._formats = wanted.formats
        self._describe_rules = describe_rules
        sums = [sum(numbers) for numbers in zip(*(ledger.state.sums for ledger in ledgers), strict=True)]
        totals = Totals(*sums[:-2])
        self.totals = totals._replace(gone=totals.gone + num_gone_with_files)
        self.num_kaito_objects, self.num_errors = sums[-2:]

    def rules(self) -> tuple[RuleInfo, ...]:
        """Return the rules that SARIF describes; their pages take time to read and are for findings."""
        return self._describe_rules() if self.totals.findings else ()

    def file_texts(self, format_name: str, color: bool) -> Iterator[str]:
        """Yield what a format makes of each file, sorted by path."""
        index = self._formats.index((format_name, color))
        return (record.texts[index] for record in self._by_path())

    def job_texts(self, format_name: str, color: bool) -> Iterator[str]:
        """Yield what a format makes of each job, in the order of the files."""
        index = self._formats.index((format_name, color))
        return (text for record in self._in_order() for text in record.job_texts[index])

    def notes(self) -> Iterator[str]:
        """List the notes beside the findings, each once, in the order of the files."""
        return iter(dict.fromkeys(note for record in self._remarked() for note in record.notes))

    def errors(self) -> Iterator[str]:
        """Yield why files could not be read, in their order."""
        return (record.error for record in self._remarked() if record.error)

    def found_rules(self) -> Iterator[tuple[str, str]]:
        """Yield the code and the name of the rule of each finding."""
        return (rule for record in self._in_order() for rule in record.rules)

    def close(self) -> None:
        """Give up the records."""
        for ledger in self._ledgers:
            ledger.close()

    def _in_order(self) -> Iterator[_Record]:
        for ledger in self._ledgers:
            yield from (ledger.read(place) for place in ledger.places())

    def _remarked(self) -> Iterator[_Record]:
        for ledger in self._ledgers:
            remarked = frozenset(ledger.state.remarked)
            yield from (ledger.read(place) for place in ledger.places() if place in remarked)

    def _by_path(self) -> Iterator[_Record]:
        """Yield the records in the order of their paths, for which the places of all are sorted at once."""
        records = [
            (path, place, ledger)
            for ledger in self._ledgers
            for path, place in (*zip(ledger.paths, ledger.state.places, strict=True), *ledger.state.beside)
            if place != _NOWHERE
        ]
        records.sort(key=lambda item: item[0])
        return (ledger.read(place) for _, place, ledger in records)
