"""Judges a review as admission does, and objects to judge: faulty configs, and arbitrary ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from reviews import TRAINING_CONFIG

from kaitoc.compiler.admission.answer import answer, surroundings_of
from kaitoc.compiler.admission.partners import NoPartners, Partners
from kaitoc.compiler.admission.policy import Policy
from kaitoc.compiler.admission.review import Answer, read_review
from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES, update_rules

NO_COLLATOR = TRAINING_CONFIG.replace("  DataCollator:\n    mlm: false\n", "")
MISSPELT = TRAINING_CONFIG.replace("torch_dtype", "torch_dtpe")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=4)


def policy(*, refuses_suppressions: bool = True, **options: Any) -> Policy:
    engine = Engine(
        RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES),
        Overrides(kaito_version="v0.12"),
        SettingsFinder(isolated=True),
        refuse_error_suppressions=refuses_suppressions,
    )
    return Policy(engine, update_rules(), **options)


def judged(data: bytes, partners: Partners | None = None, **options: Any) -> Answer:
    request = read_review(data)
    return answer(request, policy(**options), surroundings_of(request, partners or NoPartners()))
