"""vLLM's Python files on a machine without a GPU, unchanged.

`prepare` must be called before vllm is imported. What a CPU does not have is replaced: the GPU (`NUM_GPUS` A100 of
80 GiB), compiled modules, and the look at the model's class, which stands for a plain decoder. It runs inside the
environment of a vLLM wheel, so it imports nothing of kaitoc.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import operator
import os
import sys
import types
from typing import Any, ClassVar

os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1",
                  VLLM_USE_FLASHINFER_SAMPLER="0", VLLM_USE_DEEP_GEMM="0", CUDA_VISIBLE_DEVICES="")  # fmt: skip
GPU_BYTES = 79 * 2**30 + 2**28
STUBS = (
    "vllm._C", "vllm._C_stable_libtorch", "vllm._moe_C", "vllm._rocm_C", "vllm._flashmla_C", "vllm.vllm_flash_attn",
    "xformers", "flashinfer", "lm_format_enforcer", "lmformatenforcer", "cupy", "outlines", "outlines_core",
    "tensorizer", "grpc",
    "model_hosting_container_standards", "supervisor", "llguidance", "xgrammar", "fastsafetensors", "conch", "depyf",
    "tilelang", "cutlass", "quack", "nixl", "lmcache", "deep_ep", "deep_gemm", "pplx_kernels", "tvm_ffi", "ninja",
    "kaldi_native_fbank", "cv2", "pynvml",
    "runai_model_streamer", "humming",
)  # fmt: skip
NUM_GPUS = int(os.environ.get("NUM_GPUS", "1"))


class _Stub(types.ModuleType):
    """A module in which every name is a class that does nothing."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        methods = {"__init__": lambda self, *_, **__: None, "__call__": lambda self, *_, **__: self,
                   "__class_getitem__": classmethod(lambda cls, _: cls)}  # fmt: skip
        found = type(name, (), methods)
        setattr(self, name, found)
        return found


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, _path: object, _target: object = None) -> Any:
        if any(name == stub or name.startswith(f"{stub}.") for stub in STUBS):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__version__ = "0"  # type: ignore[attr-defined]


def prepare() -> None:
    """Replace what a CPU does not have."""
    sys.meta_path.append(_Finder())
    _pretend_gpu()
    _pretend_decoder()


def _pretend_gpu() -> None:
    """Make vLLM see `NUM_GPUS` A100 GPUs of 80 GiB."""
    import torch

    for name in ("_C", "_moe_C", "_C_cuda_utils", "_vllm_fa2_C"):
        with contextlib.suppress(Exception):
            torch.library.Library(name, "FRAGMENT")
    import vllm.platforms as platforms
    from vllm.platforms.cuda import CudaPlatformBase
    from vllm.platforms.interface import DeviceCapability

    class A100(CudaPlatformBase):
        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return DeviceCapability(8, 0)

        @classmethod
        def has_device_capability(cls, capability: Any, device_id: int = 0) -> bool:
            wanted = capability if not isinstance(capability, int) else divmod(capability, 10)
            return tuple(wanted) <= (8, 0)

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return "NVIDIA A100 80GB PCIe"

        @classmethod
        def get_device_uuid(cls, device_id: int = 0) -> str:
            return "GPU-0"

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return GPU_BYTES

        @classmethod
        def is_fully_connected(cls, _ids: Any) -> bool:
            return True

        @classmethod
        def device_count(cls) -> int:
            return NUM_GPUS

        @classmethod
        def cuda_device_count_stateless(cls) -> int:
            return NUM_GPUS

        @classmethod
        def log_warnings(cls) -> None:
            return None

        @classmethod
        def is_sleep_mode_available(cls) -> bool:
            return True

        @classmethod
        def num_compute_units(cls, device_id: int = 0) -> int:
            return 108

    platforms._current_platform = A100()
    for module in ("vllm.utils", "vllm.utils.torch_utils"):
        with contextlib.suppress(ImportError):
            counting = importlib.import_module(module)
            if hasattr(counting, "cuda_device_count_stateless"):
                counting.cuda_device_count_stateless = lambda: NUM_GPUS
    library = torch.library.Library("_C", "FRAGMENT")
    for name, least in (("cutlass_scaled_mm_supports_fp8", 89), ("cutlass_scaled_mm_supports_block_fp8", 90),
                        ("cutlass_scaled_mm_supports_fp4", 100), ("cutlass_group_gemm_supported", 90),
                        ("cutlass_blockwise_scaled_grouped_mm_supported", 90), ("cutlass_moe_mm_supported", 90),
                        ("cutlass_sparse_scaled_mm_supported", 90)):  # fmt: skip
        library.define(f"{name}(int x) -> bool")
        library.impl(name, functools.partial(operator.le, least), "CompositeExplicitAutograd")
    _libraries.append(library)
    torch.cuda.device_count = lambda: NUM_GPUS
    torch.cuda.is_available = lambda: True


_libraries: list[Any] = []


def _pretend_decoder() -> None:
    """Let every model class be a plain decoder: vLLM looks at it in a process that needs the compiled modules."""
    import dataclasses

    from vllm.model_executor.models import registry

    fields = {field.name for field in dataclasses.fields(registry._ModelInfo)}
    true, texts = {"is_text_generation_model", "supports_pp"}, {
        "attn_type": "decoder", "default_pooling_type": "LAST", "default_seq_pooling_type": "LAST",
        "default_tok_pooling_type": "ALL", "score_type": "bi-encoder"}  # fmt: skip

    def inspected(self: Any) -> Any:
        values = {name: texts.get(name, name in true) for name in fields if name != "architecture"}
        return registry._ModelInfo(architecture=self.class_name, **values)

    registry._LazyRegisteredModel.inspect_model_cls = inspected
