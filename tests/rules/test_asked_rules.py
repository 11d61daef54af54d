"""A rule that is not asked about a job, since it found nothing in an equal run, would find nothing."""

from __future__ import annotations

from page_examples import engine_for, examples

from kaitoc.compiler.check.known_findings import known_findings, rules_to_ask
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.job import Job
from kaitoc.rules import JOB_RULES, RULES


def jobs_of_pages() -> list[Job]:
    """Return the jobs of all pages; most pages begin with one of few configs, so that many runs are equal."""
    jobs: list[Job] = []
    for rule in RULES:
        for number, example in enumerate(examples(rule)):
            engine = engine_for(example)
            source = Source(f"{rule.CODE}-{number}.yaml", example.text)
            engine.library.add_source(source)
            jobs.extend(engine.jobs_of(engine.library.load(source.path)))
    return jobs


def test_rules_that_are_left_out_find_nothing() -> None:
    rules = tuple(JOB_RULES)
    num_left_out = 0
    for job in (*jobs_of_pages(), *jobs_of_pages()):
        asked = rules_to_ask(rules, job)
        num_left_out += len(rules) - len(asked)

        assert known_findings(asked, job) == known_findings(rules, job), job.manifest.source.path
    assert num_left_out > 0
