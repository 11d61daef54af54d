"""A rule's area follows from its code, in one table."""

from __future__ import annotations

import pytest

from kaitoc.compiler.core.areas import Area, area_of


@pytest.mark.parametrize("area", Area)
def test_every_code_of_an_area_belongs_to_it(area: Area) -> None:
    assert {area_of(f"{area.value}{number:02}") for number in range(100)} == {area}


def test_every_area_has_a_heading_of_its_own() -> None:
    assert len({area.title for area in Area}) == len(Area)


@pytest.mark.parametrize("code", ["KT901", "KT", "401", ""])
def test_a_code_of_no_area_is_an_error(code: str) -> None:
    with pytest.raises(ValueError, match="Area"):
        area_of(code)
