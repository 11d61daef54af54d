"""An edit of a training config that Kaito will not notice."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.training_config import DATA_KEY

CODE = "KT459"
NAME = "unnoticed-edit"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(old: Manifest, new: Manifest) -> Iterator[Fault]:
    """Report updates of a ConfigMap that a Workspace has already read."""
    if not (old.is_config_map and new.is_config_map):
        return
    before, after = old.field("data", DATA_KEY), new.field("data", DATA_KEY)
    if before is None or after is None or before.text == after.text:
        return
    yield Fault(
        after.key,
        "Kaito does not watch ConfigMaps: a running job keeps the old config and is not restarted",
        help="create a ConfigMap with another name, and point the Workspace's `tuning.config` to it",
    )
