"""What is said of a chat template is what the environment of transformers makes of it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from time import process_time

import pytest

from kaitoc.rules._libraries import libraries
from kaitoc.rules._template_trial import Trial, try_template
from kaitoc.rules._templates import has_generation_marks

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
_LANGUAGE = libraries("v0.12").template_language
RENDERED = [
    "plain text {}",
    "{{ messages | tojson }}",
    "{{ messages[0].content | trim | upper }}{{ 'a' ~ 'b|c' }}",
    "{% for m in messages %}{% if loop.first and m.content is defined %}{{ m.role }}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}",
    "{%- for m in messages -%}{%- generation -%}{{ m.content }}{%- endgeneration -%}{%- endfor -%}",
    "{% set ns = namespace(x='}}') %}{{ ns.x }}{% set y %}text{% endset %}{{ y }}",
    "{% macro say(x) %}{{ x }}{% endmacro %}{{ say('a') }}",
    "{# a comment with {% nonsense %} #}x",
    "{% raw %}{{ not | a_filter }}{% endraw %}",
    "{{ {'a': [1, (2)]}['a'] | length }}{{ 1 if x is not none else 2 }}",
    "{% if not tools is none and x is undefined %}{{ bos_token }}{% else %}a{% endif %}",
    "{% with x = 1 %}{{ x }}{% endwith %}{% filter upper %}a{% endfilter %}",
    "{% macro say(x) %}{{ x }}{% endmacro %}{{ say('a') }}",
    "{% set ns = namespace(a=1) %}{{ ns.a }}{{ namespace(b=2).b }}",
    "{% for a, b in [(1, 2)] %}{{ a }}{% endfor %}",
    "{% if false %}{{ nobody() }}{% endif %}x",
    "{{ range(3) |  join(',') }}{{ messages[0].content.upper() }}{{ strftime_now('%Y') }}",
    "{{ 4 is divisibleby(2) and not (5 is not divisibleby (2)) }}",
    "{{ 'nobody(x)' }}{{ 1 if (true) else (2) }}",
]
REFUSED = [
    "{{ messages",
    "{% if %}a{% endif %}",
    "{% if true %}a",
    "{% endfor %}",
    "{{ }}",
    "{% %}",
    "{{ messages | nofilter }}",
    "{{ x is nothing }}",
    "{{ x is None }}",
    "{% break %}",
    "{% unknown %}",
    "{{ nobody(messages) }}",
    "{{ messages | length ~ nobody ('x') }}",
    "{% endunknown %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% for m in messages %}{{ m['content' }}{% endfor %}",
    "{{ 'a }}",
    "{% for m in messages %}{% endif %}{% endfor %}",
]
EMPTY = [
    "{# a comment #}",
    " \n",
    "{# one #} {# two #}",
    "{% set x = 1 %}{%- set y = 'a' -%}",
    "{{ nobody }}",
    "{{- '' -}}",
    "{% for m in messages %}{% endfor %}",
    "{% for m in conversation %}{{ m.content }}{% endfor %}",
]


def rendered(template: str) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    return str(render_jinja_template([MESSAGES], chat_template=template)[0][0])


def is_rendered(template: str) -> bool:
    try:
        rendered(template)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("template", RENDERED)
def test_a_template_that_is_rendered_has_no_problem(template: str) -> None:
    assert is_rendered(template)
    assert try_template(template, _LANGUAGE) == Trial()


@pytest.mark.parametrize("template", REFUSED)
def test_a_template_that_is_refused_has_one(template: str) -> None:
    assert not is_rendered(template)
    trial = try_template(template, _LANGUAGE)
    assert trial.syntax or trial.failure


@pytest.mark.parametrize("template", EMPTY)
def test_a_template_without_text_is_one_that_renders_to_nothing(template: str) -> None:
    assert rendered(template).strip() == ""
    assert try_template(template, _LANGUAGE) == Trial(is_blank=True)


def templates_of_trl() -> list[Path]:
    import trl

    templates = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
    assert len(templates) > 20
    return templates


def test_the_templates_of_trl_have_no_problem() -> None:
    assert [path.name for path in templates_of_trl() if try_template(path.read_text(), _LANGUAGE) != Trial()] == []


RAISING = {"gemma.jinja", "gemma_training.jinja"}
"""Those that call `raise_exception` for a system prompt, so that what comes after is not judged."""


def test_the_templates_of_trl_stay_within_the_bounds() -> None:
    unjudged = {
        path.name
        for path in templates_of_trl()[::4]
        if not try_template(path.read_text() + "{{ nobody() }}", _LANGUAGE).failure
    }

    assert unjudged <= RAISING


OF_SOME_ROWS = [
    "{{ messages[40].content }}",
    "{{ messages[0].anything }}",
    "{{ raise_exception('roles must alternate') }}",
    "{% for tool in tools %}{{ tool.function.name }}{% endfor %}",
    "{% for part in messages[0].content %}{{ part.text }}{% endfor %}",
    "{{ image_token }}",
]


@pytest.mark.parametrize("template", OF_SOME_ROWS)
def test_a_template_that_some_rows_may_suit_has_no_problem(template: str) -> None:
    assert try_template(template, _LANGUAGE) == Trial()


FAILING = [
    "{{ loop.index }}",
    "{{ caller() }}",
    "{{ messages() }}",
    "{{ messages.append(1) }}",
    "{{ 1 / 0 }}",
    "{{ messages | map('nothing') | list }}",
    "{% macro say(x) %}{{ x }}{% endmacro %}{{ say(1, 2) }}",
    "{% for a, b, c in messages[0].items() %}{{ a }}{% endfor %}",
    "{{ a b }}",
    "{% set 5 = 1 %}x",
    "{% block a %}x{% endblock %}{% block a %}y{% endblock %}",
]


@pytest.mark.parametrize("template", FAILING)
def test_a_template_that_fails_on_every_row_has_a_problem(template: str) -> None:
    trial = try_template(template, _LANGUAGE)

    assert not is_rendered(template)
    assert trial.syntax or trial.failure


BOUNDLESS = [
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9) %}{% endfor %}{% endfor %}{% endfor %}",
    "{{ 'a' * 10 ** 9 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ [0] * 9999 * 9999 }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}x",
    "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}x",
    "{% set n = namespace(a=9) %}{% for i in range(99) %}{% set n.a = n.a - -9999 %}{% endfor %}{{ '%*d' % (n.a, 1) }}",
    "{% set x = 'ab' %}{% for i in range(99) %}{% set x %}{{ x }}{{ x }}{% endset %}{% endfor %}x",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ ('%' ~ '9' * 9 ~ 'd') % 1 }}",
    "{{ '{:999999999d}'.format(1) }}",
    "{{ ('{:' ~ '9' * 9 ~ 'd}').format(1) }}",
    "{{ '{:{w}}'.format(1, w='9' * 9) }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ 'x'.center(999999999) }}",
    "{{ 'x' | center(999999999) }}",
    "{{ ('9' * 9) | int * 'x' }}",
    "{{ 'a'.replace('', 'a' * 3999).replace('', 'a' * 3999).replace('', 'a' * 3999) }}",
    "{{ messages | batch(9999, 'x') | list | string | replace('x', 'y' * 3999) | replace('y', 'z' * 3999) }}",
    "{{ '{:{w[0]}}'.format(1, w=['9' * 9]) }}",
    "{{ '{x:{w[0]}}'.format_map({'x': 1, 'w': ['9' * 9]}) }}",
    "{% set n = namespace(x=[]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x == [n.x] }}",
    "{% set n = namespace(x={}) %}{% for i in range(99) %}{% set n.x = {1: n.x, 2: n.x} %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=(1,)) %}{% for i in range(99) %}{% set n.x = (n.x, n.x) %}{% endfor %}{{ {n.x: 1} }}",
    "{% set x = [1] * 1900 %}{% set x = [x] * 1900 %}{% set x = [x] * 1900 %}{{ x | string }}",
    "{{ ([[1] * 1900] * 1900) | sum(start=[]) | length }}",
    "{% set n = namespace(x=[]) %}{% for i in range(600) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson(9999) }}",
    f"{{% set x %}}{{% for i in range(1999) %}}{'x' * 45_000}{{% endfor %}}{{% endset %}}",
    f"{{% macro f() %}}{'x' * 45_000}{{% endmacro %}}{{% for i in range(1999) %}}{{{{ f() }}}}{{% endfor %}}",
    f"{{% for i in range(1999) %}}{'{% if i %}{% endif %}' * 2_000}{{% endfor %}}",
    "{% for i in range(1999) %}{{ range(1900) | list | sort | length }}{% endfor %}",
    "{% for i in range(1999) %}{{ 0.5 in range(99999) }}{% endfor %}",
]


@pytest.mark.parametrize("template", BOUNDLESS)
def test_a_template_that_computes_without_end_is_left_alone(template: str) -> None:
    max_bytes, max_seconds = 48 * 1024 * 1024, 10
    tracemalloc.start()
    try:
        begun = process_time()
        assert try_template(template, _LANGUAGE) == Trial()
        assert process_time() - begun < max_seconds
        assert tracemalloc.get_traced_memory()[1] < max_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mark", ["{% generation %}", "{%- generation %}", "{%generation-%}", "{%+ generation %}", "x"])
def test_marks_are_those_that_trl_looks_for(mark: str) -> None:
    from trl.chat_template_utils import has_generation_markers

    assert has_generation_marks(mark) is has_generation_markers(mark)


def test_trl_has_training_forms_of_its_own_templates_only() -> None:
    from trl import chat_template_utils as known

    assert libraries("v0.12").has_training_template(known.phi3_chat_template)
    assert not libraries("v0.12").has_training_template(known.phi3_chat_template + " ")
