"""Kaito's node counts, worked out by hand from `pkg/workspace/estimator/nodesestimator/estimator.go` of v0.10.0.

A GPU of 80 GiB has 80 x 0.84 - 2.3 = 64.9 GiB for weights, which take 1.02 times their files.
"""

from __future__ import annotations

import pytest

from kaitoc.compiler.catalog.gpus import find_instance_type
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.kaito.node_estimate import NodeEstimate, estimate_nodes, estimate_slice, scanned_length

ONE, EIGHT = "Standard_NC24ads_A100_v4", "Standard_ND96amsr_A100_v4"


def estimated(name: str, weights_gib: float, token_bytes: int = 0, length: int | None = None) -> NodeEstimate | None:
    instance = find_instance_type(name)
    assert instance is not None
    return estimate_nodes("v0.10", instance, int(weights_gib / 1.02 * GIB), token_bytes, length)


@pytest.mark.parametrize(
    ("instance", "weights_gib", "num_nodes"),
    [(ONE, 1.0, 1), (ONE, 64.8, 1), (ONE, 65.0, 2), (ONE, 130.0, 3), (EIGHT, 519.0, 1), (EIGHT, 519.4, 2)],
)
def test_weights_take_as_many_nodes_as_their_gpus(instance: str, weights_gib: float, num_nodes: int) -> None:
    estimate = estimated(instance, weights_gib)

    assert estimate is not None
    assert estimate.num_nodes == num_nodes


def test_the_cache_of_the_default_length_is_divided_by_the_gpus_of_a_node() -> None:
    half = GIB // 2
    on_one, on_eight = (estimated(name, 1.0, half // 2048 * 8) for name in (ONE, EIGHT))

    assert on_one is not None
    assert on_eight is not None
    assert (on_one.length_tokens, on_one.reserved_bytes) == (2048, int(2.3 * GIB) + 8 * half)
    assert on_eight.reserved_bytes == int(2.3 * GIB) + half


def test_a_gpu_that_holds_no_more_than_what_is_set_aside_is_refused() -> None:
    token_bytes = int((80 * 0.84 - 2.3) * GIB) // 1000

    too_long, fits = (estimated(ONE, 1.0, token_bytes, length) for length in (1001, 999))

    assert too_long is not None
    assert fits is not None
    assert (too_long.num_nodes, fits.num_nodes) == (None, 16)


@pytest.mark.parametrize("release", ["v0.8", "v0.9", "v0.10"])
def test_a_model_of_641_gib_takes_nine_gpus_of_94_gib(release: str) -> None:
    """From v0.8 on: (94 x 0.84 - 2.3) GiB of each GPU is for weights, 641.3 x 1.02 GiB of them."""
    instance = find_instance_type("Standard_NC80adis_H100_v5")
    assert instance is not None

    estimate = estimate_nodes(release, instance, int(641.3 * GIB), 70272, None)

    assert estimate is not None
    assert estimate.num_nodes == 5


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("vllm:\n  max-model-len: 8192\n", 8192),
        ("vllm:\n  seed: 1\n\n  # why\n  max-model-len: 8192 \n", 8192),
        ("max-model-len: 4096\nvllm:\n  max-model-len: 8192\n", 8192),
        ("vllm:\n  max-model-len: 4096\n  max-model-len: 8192\n", 4096),
        ("vllm:\n  max-model-len: 010000\n", 10000),
        ("vllm:\n  max-model-len: 8192 # why\n", None),
        ("vllm:\n  max-model-len: '8192'\n  max-model-len: 8192\n", None),
        ("vllm:\n  max_model_len: 8192\n", None),
        ("vllm:\n  max-model-len : 8192\n", None),
        ("vllm: {max-model-len: 8192}\n", None),
        ("vllm:\n  seed: 1\nother:\n  max-model-len: 8192\n", None),
        ("vllm:\n max-model-len: 8192\n", None),
        ("vllm:\n  max-model-len: 8k\n", None),
        ("vllm:\n  max-model-len: -1\n", None),
        ("vllm:\n  max-model-len: 99999999999999999999\n", None),
        ("", None),
    ],
)
def test_the_estimator_reads_lines_and_not_yaml(text: str, length: int | None) -> None:
    assert scanned_length(text) == length


@pytest.mark.parametrize(("profile", "num_nodes"), [("1g.10gb", 2), ("1g.20gb", 1), ("3g.40gb", 1), ("1g.2gb", None)])
def test_a_slice_has_the_memory_of_its_name(profile: str, num_nodes: int | None) -> None:
    estimate = estimate_slice("v0.12", profile, int(7.15 * GIB), 131072, None)

    assert estimate is not None
    assert estimate.num_nodes == num_nodes


def test_a_name_that_is_no_profile_is_not_estimated() -> None:
    assert estimate_slice("v0.12", "10gb", GIB, 0, None) is None
