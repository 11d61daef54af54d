"""The text of `kaitoc --version`."""

from __future__ import annotations

import yaml

from kaitoc.compiler import __version__
from kaitoc.compiler.catalog.releases import all_releases


def version_text() -> str:
    """Return the engine's version, the Kaito releases known and the YAML parser in use."""
    names = [release.name for release in all_releases()]
    parser = "libyaml" if yaml.__with_libyaml__ else "pure Python (slower; install PyYAML with libyaml)"
    return f"kaitoc {__version__}\nKaito releases: {', '.join(names)}\nYAML parser: {parser}"
