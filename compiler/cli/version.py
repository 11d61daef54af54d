"""The text of `kaitoc --version`."""

from __future__ import annotations

import yaml

from kaitoc.compiler import __version__
from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.check.baseline import VERSION as BASELINE_VERSION
from kaitoc.compiler.plan.plan import PLAN_VERSION


def version_text() -> str:
    """Return the versions of the engine and of the files it writes, the Kaito releases known and the YAML parser."""
    names = [release.name for release in all_releases()]
    parser = "libyaml" if yaml.__with_libyaml__ else "pure Python (slower; install PyYAML with libyaml)"
    schemas = f"report 1, plan {PLAN_VERSION}, baseline {BASELINE_VERSION}, training config by Kaito release"
    return f"kaitoc {__version__}\nSchemas: {schemas}\nKaito releases: {', '.join(names)}\nYAML parser: {parser}"
