"""A name that is no folder goes to huggingface_hub, whose own judgement of it is kept."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.kaito.hub_name import is_repository_name, may_be_a_folder

_NAMES = st.text(alphabet="ab/-._0 é\n~:", min_size=1, max_size=12) | st.sampled_from(
    ["a" * 96, "a" * 97, "a" * 96 + "/" + "b" * 96, "a.git", "a/b.git", "a--b", "a..b", "", "/", "//", "a//b"]
)


@given(_NAMES)
def test_a_repository_name_is_what_huggingface_hub_takes(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError:
        is_taken = False
    else:
        is_taken = True

    assert is_repository_name(name) is is_taken


@pytest.mark.parametrize(
    "path", ["/workspace/tfs/weights", "/workspace/tfs/weights/", "tfs/weights", "./tfs/weights", "/mnt/data/model"]
)
def test_the_weights_and_what_is_mounted_are_folders(path: str) -> None:
    assert may_be_a_folder(path)


@pytest.mark.parametrize("path", ["/workspace/tfs", "/models/phi", "weights", "/mntx", "../mn"])
def test_other_paths_are_not(path: str) -> None:
    assert not may_be_a_folder(path)
