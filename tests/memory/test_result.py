"""The categories of memory stand in one table that all reports read."""

from __future__ import annotations

from dataclasses import fields

from kaitoc.compiler.memory.result import Categories, Category, Footprint, Phase, PhasePeak, parts_of
from kaitoc.compiler.plan.plan import FootprintPlan
from kaitoc.compiler.report.compile.chart import COLORS
from kaitoc.compiler.report.json_model import JsonFootprint

DISTINCT = Categories(*(10**number for number in range(len(Category))))
FOOTPRINT = Footprint((PhasePeak(Phase.LOSS, DISTINCT),), 1, 2 * 10**7, 3 * 10**8, 0, 0)


def test_every_category_is_a_field_and_every_field_a_category() -> None:
    assert [field.name for field in fields(Categories)] == [category.value for category in Category]


def test_items_give_each_category_its_own_bytes() -> None:
    assert dict(DISTINCT.items()) == {category: getattr(DISTINCT, category.value) for category in Category}
    assert DISTINCT.total == 1_111_111


def test_the_parts_of_a_footprint_add_up_to_the_device() -> None:
    assert sum(parts_of(FOOTPRINT).values()) == FOOTPRINT.device_bytes


def test_every_report_has_a_place_for_every_part() -> None:
    names = list(parts_of(FOOTPRINT))

    assert list(COLORS) == names
    assert [field.name for field in fields(JsonFootprint)] == names
    assert {category.value for category in Category} <= set(FootprintPlan.model_fields)
