"""Findings about what is known: placeholders and sealed values are not judged."""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.faults import JobRule, to_finding
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.run import BeyondRunError, is_first_of_run, memo_of_run, run_alone
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.manifest.unknown_places import is_encrypted, unknown_nodes
from kaitoc.compiler.yaml.placeholders import UnknownValueError
from kaitoc.compiler.yaml.values import YamlValueError

_NOT_JUDGED = "unjudged-value"
"""The rule that says which values are not known."""
_Key = tuple[str, int, int, str, str]


def known_findings(rules: Iterable[JobRule], job: Job) -> list[Finding]:
    """Run rules on a job; each stops at the first value that is not known yet.

    It does what `known_faults` does, without its generator: one for each rule of each job takes a tenth of a check.
    """
    findings: list[Finding] = []
    for rule in rules:
        try:
            for fault in rule.check(job):
                findings.append(to_finding(rule, fault))  # what came before the unknown value counts
        except (UnknownValueError, YamlValueError):
            continue
    return findings


def rules_to_ask(rules: tuple[JobRule, ...], job: Job) -> tuple[JobRule, ...]:
    """Return the rules that may find something in a job.

    Those left out found nothing in an equal run, and asked for nothing else. They are looked for once a run is met
    again: many files have no like.
    """
    if is_first_of_run(job):
        return rules
    return memo_of_run(job).get(("rules to ask", rules), lambda: _rules_beyond_run(rules, run_alone(job)))


def _rules_beyond_run(rules: tuple[JobRule, ...], alone: Job) -> tuple[JobRule, ...]:
    return tuple(rule for rule in rules if not _is_silent(rule, alone))


def _is_silent(rule: JobRule, alone: Job) -> bool:
    """Return whether a rule finds nothing in a run, whatever else there is."""
    try:
        return next(rule.check(alone), None) is None
    except (UnknownValueError, YamlValueError):
        return True
    except BeyondRunError:
        return False


def without_unknown(file: ManifestFile, found: dict[_Key, Finding]) -> dict[_Key, Finding]:
    """Return findings without those at values that are not known; what sops wrote loses its fixes."""
    if not found:
        return found
    unknown = {node.span for node in unknown_nodes(file)}
    sealed = [manifest.node.span for manifest in file.manifests if is_encrypted(manifest)]
    if not unknown and not sealed:
        return found
    return {
        key: replace(finding, fix=None) if any(span.covers(finding.span) for span in sealed) else finding
        for key, finding in found.items()
        if finding.span not in unknown or finding.name == _NOT_JUDGED
    }
