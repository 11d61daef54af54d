"""A section of the training config as Kaito's parser reads it, where some of its values are not known yet."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.kaito.argument_table import ParsedValue, release_arguments
from kaitoc.compiler.kaito.arguments import ArgProblem, ArgProblemKind, SectionParse, parse_section
from kaitoc.compiler.manifest.training_config import Option, Section

_OF_THE_KEY = frozenset(
    (
        ArgProblemKind.UNKNOWN_KEY,
        ArgProblemKind.AMBIGUOUS_KEY,
        ArgProblemKind.ABBREVIATED_KEY,
        ArgProblemKind.HYPHENATED_KEY,
        ArgProblemKind.HELP_KEY,
    )
)
"""What the parser says whatever the value is."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands in a parse for a value that is not known; nothing but `Job` sees it."""

    placeholder: str


def parse_with_unknowns(section: Section | None, name: str, release: str) -> SectionParse:
    """Parse a section as a release does; of an option with an unknown value only the key is checked.

    Where the keys themselves are not known, none of the section's values is.
    """
    options = section.options if section is not None else ()
    if section is not None and section.placeholder:
        unknown = Unknown(section.placeholder)
        names = release_arguments(release).sections[name].arguments
        return SectionParse(name, {key: ParsedValue(unknown) for key in names}, ())
    unknowns = [index for index, option in enumerate(options) if option.placeholder]
    if not unknowns:
        return parse_section(name, [(option.name, option.plain) for option in options], release)
    known = [index for index in range(len(options)) if index not in unknowns]
    parse = parse_section(name, [(options[index].name, options[index].plain) for index in known], release)
    values = {
        key: found if found.entry_index is None else replace(found, entry_index=known[found.entry_index])
        for key, found in parse.values.items()
    }
    problems = [replace(problem, entry_index=known[problem.entry_index]) for problem in parse.problems]
    for index in unknowns:
        of_the_key = _problems_of_key(options[index], name, release, index)
        problems += of_the_key
        key = next((problem.key for problem in of_the_key if problem.key), options[index].name)
        if key in values:
            values[key] = ParsedValue(Unknown(options[index].placeholder), index)
    return SectionParse(name, values, tuple(sorted(problems, key=lambda problem: problem.entry_index)))


def _problems_of_key(option: Option, section: str, release: str, index: int) -> list[ArgProblem]:
    """Return the parser's problem with an option's key."""
    problems = parse_section(section, [(option.name, "value")], release).problems
    return [replace(problem, entry_index=index) for problem in problems if problem.kind in _OF_THE_KEY]
