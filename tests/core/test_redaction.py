"""Secrets in text that is shown: none gets through, and what is no secret stays."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.redaction import redacted_address, redacted_text

SECRETS = st.text(string.ascii_letters + string.digits + "._-+/=", min_size=1).map("SECRET".__add__)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/data.jsonl", "https://host/data.jsonl"),
        ("https://user:pass@host:8080/a/b.csv", "https://host:8080/a/b.csv"),
        ("https://store.example/a.jsonl?sv=1&sig=SECRET#x", "https://store.example/a.jsonl?***"),
        ("https://host:port/SECRET", "***"),
        ("/mnt/data/a?b.jsonl", "/mnt/data/a?b.jsonl"),
    ],
)
def test_credentials_are_taken_out_of_addresses(address: str, shown: str) -> None:
    assert redacted_address(address) == shown


@given(
    st.sampled_from(["token={}", "password: {}", '"api_key": "{}"', "Authorization: Bearer {}", "HF_TOKEN='{}'"]),
    SECRETS,
)
def test_what_follows_the_name_of_a_secret_is_hidden(form: str, secret: str) -> None:
    assert "SECRET" not in redacted_text(f"before {form.format(secret)} after")


@given(st.sampled_from(["https://{}@host/a", "http://u:{}@host/a", "https://host/a?sig={}", "s3://b/a?x#{}"]), SECRETS)
def test_what_an_address_may_carry_is_hidden(form: str, secret: str) -> None:
    assert "SECRET" not in redacted_text(f"GET {form.format(secret.replace('/', ''))} 200")


@pytest.mark.parametrize("line", ["step 1/4  loss 6.968  460 tokens/s", "{'num_tokens': 512.0}", "3 tokens: a, b"])
def test_what_is_no_secret_stays(line: str) -> None:
    assert redacted_text(line) == line
