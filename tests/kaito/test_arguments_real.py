"""The model of Kaito's parser says what the real argparse says, on seeded random faults."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")

import real_parser

from kaitoc.compiler.kaito.arguments import SectionParse, parse_section

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]


def given(parse: SectionParse) -> dict[str, object]:
    return {name: found.value for name, found in parse.values.items() if found.entry_index is not None}


@pytest.mark.parametrize("section", real_parser.SECTIONS)
def test_known_faults_get_the_verdict_and_the_values_of_the_real_parser(section: str) -> None:
    rng = random.Random(f"kaito {section}")
    for _ in range(100):
        entries = real_parser.mutated(rng, section)
        compare(section, entries)


@pytest.mark.parametrize("section", real_parser.SECTIONS)
def test_every_argument_reads_every_odd_value_as_the_real_parser_does(section: str) -> None:
    rng = random.Random(f"odd {section}")
    names = real_parser.real_names(section)
    for value in real_parser.ODD_VALUES:
        for name in rng.sample(names, min(6, len(names))):
            compare(section, [(name, value)])


def compare(section: str, entries: real_parser.Entries) -> None:
    real = real_parser.real_verdict(section, entries)
    parse = parse_section(section, entries, real_parser.RELEASE)
    assert parse.is_accepted == (real.values is not None), (entries, parse.problems)
    if real.values is not None:
        for name, value in given(parse).items():
            assert repr(value) == repr(real_parser.plain(real.values[name])), (name, entries)


@pytest.mark.parametrize("section", real_parser.SECTIONS)
def test_the_bundled_table_is_what_the_installed_libraries_accept(section: str) -> None:
    from kaitoc.schemas import read_json
    from kaitoc.schemas.generate.introspect_arguments import describe

    described = describe(real_parser.real_classes()[section])
    assert described == read_json("training_config/arguments/bundled")["sections"][section]


@pytest.mark.slow
def test_the_generator_reads_the_bundled_table_from_an_environment_that_has_its_libraries() -> None:
    import sys

    from kaitoc.schemas import read_json
    from kaitoc.schemas.generate.training_config import introspect

    assert introspect("bundled", sys.executable) == read_json("training_config/arguments/bundled")
