"""What is said of a chat template is what the environment of transformers makes of it."""

from __future__ import annotations

import pytest

from kaitoc.rules._libraries import libraries
from kaitoc.rules._templates import has_generation_marks, renders_to_nothing, template_problem

MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
_LANGUAGE = libraries("v0.12").template_language
RENDERED = [
    "plain text {}",
    "{{ messages | tojson }}",
    "{{ messages[0].content | trim | upper }}{{ 'a' ~ 'b|c' }}",
    "{% for m in messages %}{% if loop.first and m.content is defined %}{{ m.role }}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{% break %}{% endfor %}",
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
    assert template_problem(template, _LANGUAGE) == ""
    assert not renders_to_nothing(template)


@pytest.mark.parametrize("template", REFUSED)
def test_a_template_that_is_refused_has_one(template: str) -> None:
    assert not is_rendered(template)
    assert template_problem(template, _LANGUAGE)


@pytest.mark.parametrize("template", EMPTY)
def test_a_template_without_text_is_one_that_renders_to_nothing(template: str) -> None:
    assert rendered(template).strip() == ""
    assert template_problem(template, _LANGUAGE) == ""
    assert renders_to_nothing(template)


@pytest.mark.parametrize("mark", ["{% generation %}", "{%- generation %}", "{%generation-%}", "{%+ generation %}", "x"])
def test_marks_are_those_that_trl_looks_for(mark: str) -> None:
    from trl.chat_template_utils import has_generation_markers

    assert has_generation_marks(mark) is has_generation_markers(mark)


def test_trl_has_training_forms_of_its_own_templates_only() -> None:
    from trl import chat_template_utils as known

    assert libraries("v0.12").has_training_template(known.phi3_chat_template)
    assert not libraries("v0.12").has_training_template(known.phi3_chat_template + " ")
