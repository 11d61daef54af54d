"""The dependency groups of a checkout, and the extra that older installers take for them."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PROJECT = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PROJECT["dependency-groups"]
EXTRAS = PROJECT["project"]["optional-dependencies"]


def requirements_of(group: str) -> list[str]:
    found = []
    for entry in GROUPS[group]:
        found += [entry] if isinstance(entry, str) else requirements_of(entry["include-group"])
    return found


def test_the_extra_for_developers_is_the_group() -> None:
    assert sorted(EXTRAS["dev"]) == sorted(requirements_of("dev"))


def test_a_requirement_stands_in_one_group_only() -> None:
    assert len(requirements_of("dev")) == len(set(requirements_of("dev")))


def test_the_tests_have_what_the_servers_need() -> None:
    tested = set(requirements_of("test"))
    assert {*EXTRAS["webhook"], *EXTRAS["lsp"], *EXTRAS["plot"]} <= tested


def test_what_make_installs_are_groups_and_extras_that_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installed = re.findall(r'-e "\.\[([\w,]+)\]" --group (\w+)', makefile)
    assert installed
    for extras, group in installed:
        assert set(extras.split(",")) <= set(EXTRAS)
        assert group in GROUPS
