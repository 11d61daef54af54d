"""What vLLM's `CompilationConfig` refuses beside the types of its keys (vllm/config/compilation.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

_CAPTURED = "cudagraph_capture_sizes"
_LARGEST = "max_cudagraph_capture_size"
_WHOLE = "compilation-config"
_OPTIONS = {
    _CAPTURED: ("cuda-graph-sizes", "cudagraph-capture-sizes"),
    _LARGEST: ("max-cudagraph-capture-size",),
}
"""The options that write a key of the class."""
_LAST_MODE = 3
"""`CompilationMode` counts from 0 (none) to 3 (vLLM's own)."""


def compilation_fault(config: Mapping[str, object]) -> str:
    """Say what the class takes in place of a value that it refuses, empty where it takes all of them."""
    mode = config.get("mode")
    if isinstance(mode, int) and not isinstance(mode, bool) and not 0 <= mode <= _LAST_MODE:
        return "0, 1, 2 or 3 for `mode`"
    passes = config.get("inductor_passes")
    if isinstance(passes, dict) and not all(isinstance(one, str) and "." in one for one in passes.values()):
        return "functions by their dotted names in `inductor_passes`"
    names = config.get("custom_ops")
    listed = [str(name) for name in names] if isinstance(names, list) else []
    if {"all", "none"} <= set(listed):
        return "only one of `all` and `none` in `custom_ops`"
    if any(name not in ("all", "none") and not name.startswith(("+", "-")) for name in listed):
        return "`all` or `none`, +NAME and -NAME in `custom_ops`"
    return ""


def size_faults(config: Mapping[str, object]) -> Iterator[str]:
    """Yield what is refused of the sizes once the engine reads them, which it does unless it runs without graphs."""
    sizes, most, compiled = (config.get(key) for key in (_CAPTURED, _LARGEST, "compile_sizes"))
    if sizes == [] or (isinstance(most, int) and most < 1):
        key = _CAPTURED if sizes == [] else _LARGEST
        yield f"needs a size of at least 1 in `{key}`"
    if isinstance(compiled, list) and any(isinstance(one, str) and one != _CAPTURED for one in compiled):
        yield f"needs numbers or `{_CAPTURED}` in `compile_sizes`"
    numbers = [one for one in sizes if isinstance(one, int)] if isinstance(sizes, list) else []
    if numbers and isinstance(most, int) and max(numbers) != most:
        yield f"needs `max_cudagraph_capture_size` to be the largest of its sizes, {max(numbers)}"


def merged_faults(value_of: Callable[[str], object]) -> Iterator[tuple[str, str]]:
    """Yield options of sizes that another sets too, or that contradict it (`create_engine_config` of arg_utils.py)."""
    given = value_of(_WHOLE)
    whole: Mapping[str, object] = given if isinstance(given, dict) else {}
    written: dict[str, tuple[str, object]] = {}
    for key, names in _OPTIONS.items():
        values = {_WHOLE: whole.get(key), **{name: value_of(name) for name in names}}
        setters = [name for name, value in values.items() if value is not None]
        if len(setters) > 1:
            yield setters[-1], f"sets what `{setters[0]}` sets too"
        elif setters:
            written[key] = (setters[0], values[setters[0]])
    if len(written) < len(_OPTIONS) or value_of("enforce-eager") is True:
        return
    (owner, sizes), (name, most) = written[_CAPTURED], written[_LARGEST]
    numbers = [size for size in sizes if isinstance(size, int)] if isinstance(sizes, list) else []
    if owner == name or not numbers or max(numbers) == most:
        return  # the sizes of one class are looked at where it is read
    if name != _WHOLE:
        yield name, f"must be the largest of `{owner}`, {max(numbers)}"
    else:
        yield owner, f"must have {most}, `{_LARGEST}` of `{_WHOLE}`, as its largest"
