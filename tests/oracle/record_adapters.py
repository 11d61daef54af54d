"""Records what becomes of the runtime's adapters where Kaito serves them.

    python tests/oracle/record_adapters.py peft v0.12 --python /tmp/v0.12/bin/python
    python tests/oracle/record_adapters.py vllm WHEELS

The first loads each adapter with a release's PEFT and compares its logits. The second runs `PEFTHelper` of each vLLM
whose wheel (`pip download --no-deps vllm==0.25.1`) is in the folder over the recorded configurations and over others,
and reads which of its models take adapters.
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zipfile import ZipFile

from vllm_model_classes import ModelClasses

from kaitoc.compiler.catalog.models import all_models

RECORDINGS = Path(__file__).parent / "recordings"
LOADER = Path(__file__).parent / "adapter_loader.py"
CONTROL = "a config as the installed PEFT writes it"
_PLAIN: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
CONFIGURATIONS: tuple[dict[str, Any], ...] = (
    *({**_PLAIN, "r": rank} for rank in (1, 16, 17, 32, 64, 300, 512, 513)),
    *({**_PLAIN, "bias": bias} for bias in ("all", "lora_only")),
    *({key: value for key, value in _PLAIN.items() if key != missing} for missing in _PLAIN),
    {**_PLAIN, "use_dora": True},
    {**_PLAIN, "modules_to_save": ["lm_head"]},
    {**_PLAIN, "modules_to_save": []},
    {**_PLAIN, "use_rslora": True},
    {**_PLAIN, "target_modules": "all-linear"},
    {**_PLAIN, "rank_pattern": {"q_proj": 64}},
    {**_PLAIN, "key_of_a_later_peft": True},
)


def record_peft(release: str, python: str) -> None:
    """Write the verdicts of a release's PEFT, with each configuration as it was loaded."""
    from adapter_cases import CASES, adapted, save_base

    from kaitoc.runtime.output.adapter import save

    with tempfile.TemporaryDirectory() as place:
        cases = {f"{number:02}": name for number, name in enumerate(CASES)}
        for number, name in cases.items():
            architecture, lora = CASES[name]
            folder = Path(place) / number
            save_base(architecture, folder / "base")
            model, plan = adapted(folder / "base", lora, release)
            _save_adapter(model, plan, folder, save)
        _add_control(model, Path(place), cases)
        loaded = subprocess.run([python, str(LOADER), place], check=True, capture_output=True, text=True)
        records = []
        for line in loaded.stdout.splitlines():
            verdict = json.loads(line)
            number = verdict.pop("folder")
            config = json.loads((Path(place) / number / "adapter" / "adapter_config.json").read_text())
            records.append({"case": cases[number], **verdict, "config": {**config, "base_model_name_or_path": "base"}})
    text = "".join(json.dumps(record, sort_keys=True) + "\n" for record in records)
    (RECORDINGS / f"adapters-{release}.jsonl").write_text(text)


def _add_control(model: Any, place: Path, cases: dict[str, str]) -> None:
    """Add the last adapter once more, with the config that the installed PEFT writes."""
    shutil.copytree(place / max(cases), place / "control")
    model.peft_config["default"].save_pretrained(place / "control" / "adapter")
    cases["control"] = CONTROL


def _save_adapter(model: Any, plan: Any, folder: Path, save: Any) -> None:
    import torch

    tokenizer = SimpleNamespace(save_pretrained=lambda _: None)
    written = save(model, tokenizer, plan.model_copy(update={"output": SimpleNamespace(path=str(folder))}))
    written.rename(folder / "adapter")
    with torch.no_grad():
        torch.save(model.eval()(torch.arange(5, 37).unsqueeze(0)).logits, folder / "expected.pt")


def record_vllm(wheels: Path) -> None:
    """Write what each vLLM says of each configuration, with `max_lora_rank` as it is by default and at its largest."""
    trained = [json.loads(line)["config"] for line in (RECORDINGS / "adapters-v0.12.jsonl").read_text().splitlines()]
    configurations = [*CONFIGURATIONS, *trained]
    recorded = {}
    architectures = _architectures()
    for wheel in sorted(wheels.glob("vllm-*.whl")):
        default, choices = _ranks(wheel)
        helper = _peft_helper(wheel)
        verdicts = [[_says(helper, config, rank) for rank in (default, choices[-1])] for config in configurations]
        classes = ModelClasses(wheel)
        models = {model_type: classes.record(architecture) for model_type, architecture in architectures.items()}
        recorded[wheel.name.split("-")[1]] = {
            "default": default, "choices": choices, "verdicts": verdicts, "models": models
        }  # fmt: skip
    text = json.dumps({"configurations": configurations, "versions": recorded}, indent=1, sort_keys=True)
    (RECORDINGS / "adapters-vllm.json").write_text(text + "\n")


def _architectures() -> dict[str, str]:
    """The class of each type of model that the catalog has, as transformers names it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return {model.model_type: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model.model_type] for model in all_models()}


def _ranks(wheel: Path) -> tuple[int, list[int]]:
    """The default and the choices of `max_lora_rank`, from the source of its class."""
    tree = ast.parse(ZipFile(wheel).read("vllm/config/lora.py"))
    choices = next(
        ast.literal_eval(node.value.slice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MaxLoRARanks"
        and isinstance(node.value, ast.Subscript)
    )  # fmt: skip
    default = next(
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "max_lora_rank" and node.value is not None
    )
    return int(default), list(choices)


def _peft_helper(wheel: Path) -> Any:
    """The class, with what its module imports of vLLM left empty: it uses none of that here."""
    names = {
        "vllm": {}, "vllm.config": {}, "vllm.config.lora": {"LoRAConfig": object},
        "vllm.logger": {"init_logger": lambda _: SimpleNamespace(info_once=lambda *_: None)}, "vllm.model_executor": {},
        "vllm.model_executor.model_loader": {},
        "vllm.model_executor.model_loader.tensorizer": {"TensorizerConfig": object},
    }  # fmt: skip
    for name, content in names.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(content)
    module = ModuleType("peft_helper")
    sys.modules["peft_helper"] = module
    exec(ZipFile(wheel).read("vllm/lora/peft_helper.py"), vars(module))  # noqa: S102  (the code to be recorded)
    return module.PEFTHelper


def _says(helper: Any, config: dict[str, Any], max_lora_rank: int) -> str | None:
    try:
        helper.from_dict(config).validate_legal(SimpleNamespace(max_lora_rank=max_lora_rank))
    except ValueError as error:
        return str(error)
    return None


def main() -> None:
    """Record what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    peft = commands.add_parser("peft")
    peft.add_argument("release")
    peft.add_argument("--python", required=True)
    commands.add_parser("vllm").add_argument("wheels", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "peft":
        record_peft(arguments.release, arguments.python)
    else:
        record_vllm(arguments.wheels)


if __name__ == "__main__":
    main()
