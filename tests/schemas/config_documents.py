"""Random training configs: mostly right keys, values of every shape YAML has."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

from kaitoc.compiler.kaito.argument_table import release_arguments, table_names

RELEASES = table_names()

_TEXTS = st.one_of(
    st.sampled_from(
        (
            *("", "8", "-8", " 8", "8 ", "-8 ", "+8", "1_000", "8.0", ".5", "-.5", "5.", "1e-4", "-1e-4", "-1e-4 "),
            *("inf", "-inf", "nan", "Infinity", "true", "False", "YES", "n", "0", "on", "None", "-", "--", "-h", "-hx"),
            *("-h x", "-x", "-x y", "--r", "--x y", "--r=5 6", "--help", "no", "steps", "none", "nf4", "bfloat16"),
            *("auto", "{}", "{", '{"a": 1}', '{"a": 1', "[]", "a\nb", "-1\n", "8\n", "-x\n", "1\x1c", "1__0", "_1"),
            *("\u0663", "-\u0663"),
        )
    ),
    st.text(alphabet='-=0123456789.eE+_ \n{}"ahtrueTinfNo\u0663\u00a0', max_size=8),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.floats(-1e-3, 1e-3),
    st.dates(datetime.date(1990, 1, 1)),
    st.binary(max_size=3),
    _TEXTS,
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "config"]), inner)),
    max_leaves=4,
)


def section_names(release: str) -> list[str]:
    return list(release_arguments(release).sections)


def options(release: str, section: str) -> st.SearchStrategy[dict[str, object]]:
    """Options of a section: exact keys with a default, a choice, or any value at all."""
    arguments = release_arguments(release).sections[section].arguments

    @st.composite
    def drawn(draw: st.DrawFn) -> dict[str, object]:
        keys = draw(st.lists(st.sampled_from(sorted(arguments)), max_size=4, unique=True))
        return {key: draw(st.one_of(_VALUES, _likely(arguments[key].choices, arguments[key].default))) for key in keys}

    return drawn()


def _likely(choices: tuple[str, ...], default: object) -> st.SearchStrategy[object]:
    likely = [*choices, default]
    return st.one_of(st.sampled_from(likely), st.lists(st.sampled_from(likely), max_size=2))


@st.composite
def documents(draw: st.DrawFn, release: str) -> object:
    """A whole document; now and then a section or a key is not what it should be."""
    sections: dict[object, object] = {}
    for name in draw(st.lists(st.sampled_from(section_names(release)), max_size=3, unique=True)):
        sections[name] = draw(st.one_of(options(release, name), options(release, name), _VALUES))
        found = sections[name]
        if isinstance(found, dict) and draw(st.integers(0, 9)) == 0:
            found[draw(st.sampled_from(["x", "lora", 1, None]))] = draw(_VALUES)
    if draw(st.integers(0, 9)) == 0:
        sections[draw(st.sampled_from(["Foo", 3]))] = draw(_VALUES)
    return draw(st.sampled_from([{"training_config": sections}] * 9 + [{}, [], None, {"training_config": None}]))
