"""What `kaitoc admit` says of a file that holds no review."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "expected an AdmissionReview of admission.k8s.io/v1, got an empty file"),
        ("a: 1\n---\nb: 2\n", "expected an AdmissionReview of admission.k8s.io/v1, got 2 YAML documents"),
        ("kind: Workspace\napiVersion: v1\n", "expected an AdmissionReview of admission.k8s.io/v1, got `v1 Workspace`"),
        ("a: [", "the review is neither JSON nor YAML: "),
    ],
)
def test_what_is_no_review_is_refused_by_what_it_is(given: str, message: str) -> None:
    result = CliRunner().invoke(cli, ["admit", "-"], input=given)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"kaitoc: {message}")
