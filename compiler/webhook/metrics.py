"""What the webhook counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kaitoc.compiler.admission.review import Answer
from kaitoc.compiler.webhook.cluster_api import PARTNER_KINDS

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reviews = Counter(
            "kaitoc_reviews", "Reviews by path and verdict.", ["path", "verdict"], registry=self._registry
        )
        self._findings = Counter(
            "kaitoc_review_findings", "Reviews in which a rule found something.", ["code"], registry=self._registry
        )
        self._refused = Counter(
            "kaitoc_requests_refused", "Requests that are not reviews, by status.", ["status"], registry=self._registry
        )
        self.seconds = Histogram(
            "kaitoc_review_seconds", "Time to answer a review.", buckets=_BUCKETS, registry=self._registry
        )
        self.in_flight = Gauge("kaitoc_reviews_in_flight", "Reviews being answered.", registry=self._registry)
        self._unwatched = Gauge(
            "kaitoc_partners_unwatched",
            "Kinds that cannot be watched.",
            ["kind"],
            registry=self._registry,
        )
        self.certificate_loads = Counter(
            "kaitoc_certificate_loads", "Times the certificate was loaded.", registry=self._registry
        )

    def count(self, path: str, verdict: str, answer: Answer) -> None:
        """Count an answered review."""
        self._reviews.labels(path, verdict).inc()
        for code in answer.codes:
            self._findings.labels(code).inc()

    def count_refused(self, status: int) -> None:
        """Count a request that was refused before it was judged."""
        self._refused.labels(str(status)).inc()

    def tell_partners(self, problems: Mapping[str, str]) -> None:
        """Note which kinds of the cluster's objects cannot be watched."""
        for kind in PARTNER_KINDS:
            self._unwatched.labels(kind).set(kind in problems)

    def render(self) -> bytes:
        """Return all values in Prometheus' text format."""
        return bytes(generate_latest(self._registry))
