"""Print what vLLM's own allocator makes of KV caches: a line of JSON for each on the standard input.

It runs inside the environment of a vLLM wheel (`../serving/vllm_on_cpu.py`), so it imports nothing of kaitoc.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "serving"))
import vllm_on_cpu

vllm_on_cpu.prepare()

import torch  # noqa: E402  # after vLLM is prepared for a CPU
import vllm.v1.core.kv_cache_utils as utils  # noqa: E402
import vllm.v1.kv_cache_interface as interface  # noqa: E402

_Json = dict[str, Any]


def spec_of(layer: _Json) -> Any:
    """Return the cache of a layer in vLLM's own class."""
    kind, block = layer["kind"], layer["block"]
    if kind == "state":
        return interface.MambaSpec(block_size=block, shapes=((layer["elements"],),), dtypes=(torch.bfloat16,),
                                   page_size_padded=layer["page"], **layer.get("mode", {}))  # fmt: skip
    dtype = torch.uint8 if layer["element_bytes"] == 1 else torch.bfloat16
    sizes = {"block_size": block, "num_kv_heads": layer["heads"], "head_size": layer["dim"], "dtype": dtype}
    if kind == "mla":
        return interface.MLAAttentionSpec(**sizes, cache_dtype_str=layer["name"])
    if kind == "sliding":
        return interface.SlidingWindowSpec(**sizes, sliding_window=layer["window"])
    return interface.FullAttentionSpec(**sizes)


def config_of(case: _Json) -> Any:
    """Return as much of a server's configuration as the allocator reads."""
    length = case["length"]
    return SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=length, original_max_model_len=-1 if case["auto"] else length),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1),
        scheduler_config=SimpleNamespace(max_num_batched_tokens=case["batched"],
                                         disable_hybrid_kv_cache_manager=not case["hybrid"]),
        cache_config=SimpleNamespace(num_gpu_blocks_override=None, mamba_cache_mode=case.get("states", "none"),
                                     enable_prefix_caching=case.get("states", "none") != "none"),
        kv_transfer_config=None, speculative_config=None,
    )  # fmt: skip


def verdict(case: _Json) -> _Json:
    """Return the blocks, the length and the concurrency that vLLM comes to, or its refusal."""
    config, start, workers = config_of(case), 0, []
    for size in case["stages"]:
        indexes = range(start, start + size)
        workers.append({f"layer.{index}.{number}": spec_of(layer)
                        for number, (index, layer) in enumerate(case["layers"]) if index in indexes})  # fmt: skip
        start += size
    try:
        configs = utils.get_kv_cache_configs(config, workers, [case["available"]] * len(workers))
    except ValueError as error:
        longest = re.search(r"maximum model length is (\d+)", str(error))
        return {"refused": int(longest[1]) if longest else 0}
    except (ZeroDivisionError, AssertionError) as error:  # a stage without a cache
        return {"crashed": type(error).__name__}
    first = configs[0]
    return {
        "blocks": first.num_blocks,
        "length": config.model_config.max_model_len,
        "concurrency": round(utils.get_max_concurrency_for_kv_cache_config(config, first), 6),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(verdict(json.loads(line))), flush=True)
