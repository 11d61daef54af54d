"""Checkpoints whose `config.json` says that they are quantized: what commands make of one, and transformers too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.estimate import EstimateError, FineTune, workload_from
from kaitoc.compiler.memory.workload import Quantization, WorkloadError
from kaitoc.compiler.plan.memory import architecture_of, shared_footprint, workload_of_plan
from kaitoc.compiler.plan.plan import DataPlan, LoraPlan, ModelPlan, OutputPlan, Plan, Provenance, QuantizationPlan

MODEL = find_model("mistral-7b-v0.1")
assert MODEL is not None
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64}
STORED = {
    "gptq": (GPTQ, Quantization.GPTQ),
    "awq": ({"quant_method": "awq", "bits": 4}, Quantization.AWQ),
    "nf4": (NF4, Quantization.NF4),
    "fp4": ({"load_in_4bit": True}, Quantization.FP4),
    "int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, Quantization.INT8),
}
UNPREDICTED = (
    {"quant_method": "fp8"},
    {"quant_method": "compressed-tensors"},
    {"quant_method": "mxfp4"},
    {"quant_method": "gptq", "bits": 8},
    {"quant_method": "gptq", "bits": 3},
    {"bits": 4},
)


def tune(stored: dict[str, object], **options: object) -> FineTune:
    assert MODEL is not None
    config = {**MODEL.config, "model_type": MODEL.model_type, "quantization_config": stored}
    return replace(FineTune(from_config("stored", config)), **options)


@pytest.mark.parametrize(("stored", "expected"), STORED.values(), ids=STORED)
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapters_stand_on_what_the_checkpoint_holds(
    stored: dict[str, object], expected: Quantization, method: str
) -> None:
    assert workload_from(tune(stored, method=method)).quantization is expected


def test_constants_are_quantized_where_the_checkpoints_are() -> None:
    twice = workload_from(tune({**NF4, "bnb_4bit_use_double_quant": True}))

    assert twice.double_quant
    assert not workload_from(tune(NF4)).double_quant


@pytest.mark.parametrize("stored", UNPREDICTED, ids=str)
def test_what_is_not_predicted_is_refused_by_name_unless_a_plain_copy_is_stated(stored: dict[str, object]) -> None:
    with pytest.raises(WorkloadError, match="predicted"):
        workload_from(tune(stored))

    assert workload_from(tune(stored, quantization="none")).quantization is Quantization.NONE


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_checkpoint_is_not_loaded_as_another_format(method: str) -> None:
    with pytest.raises(EstimateError, match="holds gptq weights, which cannot be loaded as nf4"):
        workload_from(tune(GPTQ, method=method, quantization="nf4"))


@pytest.mark.parametrize("quantization", [kind.value for kind in Quantization if kind is not Quantization.NONE])
def test_full_fine_tuning_needs_weights_without_quantization(quantization: str) -> None:
    assert MODEL is not None
    stated = workload_from(FineTune(MODEL, method="full", quantization=quantization))

    with pytest.raises(WorkloadError, match=f"full fine-tuning cannot train {quantization} weights"):
        footprint(stated)


def plan_on(folder: Path, stored: dict[str, object], method: str = "none", *, adapts: bool = True) -> Plan:
    assert MODEL is not None
    (folder / "config.json").write_text(json.dumps(dict(tune(stored).architecture.config)))
    return Plan(
        name="stored",
        model=ModelPlan(path=str(folder)),
        quantization=QuantizationPlan.model_validate({"method": method}),
        lora=LoraPlan() if adapts else None,
        data=DataPlan(paths=("/mnt/data",)),
        output=OutputPlan(path="/mnt/results"),
        num_processes=1,
        provenance=Provenance(kaitoc_version="0"),
    )


def test_a_plan_needs_what_the_estimate_of_its_folder_says(tmp_path: Path) -> None:
    plan = plan_on(tmp_path, GPTQ)
    architecture = architecture_of(plan)
    assert architecture is not None

    asked = workload_of_plan(plan, architecture)

    assert (asked.quantization, asked.group_size) == (Quantization.GPTQ, 64)
    assert footprint(asked).peak.categories.weights < architecture.num_parameters


@pytest.mark.parametrize(("method", "adapts"), [("nf4", True), ("none", False)])
def test_a_plan_that_cannot_run_has_no_prediction(method: str, adapts: bool, tmp_path: Path) -> None:
    assert shared_footprint(plan_on(tmp_path, GPTQ, method, adapts=adapts), None) is None


@pytest.mark.runtime
def test_transformers_refuses_the_same() -> None:
    pytest.importorskip("transformers")
    from transformers import BitsAndBytesConfig, GPTQConfig
    from transformers.quantizers.auto import AutoHfQuantizer
    from transformers.trainer_utils import validate_quantization_for_training

    class Quantized:
        is_quantized = True

    with pytest.raises(ValueError, match="quantized with GPTQConfig but you are passing a BitsAndBytesConfig"):
        AutoHfQuantizer.merge_quantization_configs(GPTQConfig(bits=4), BitsAndBytesConfig(load_in_4bit=True))
    with pytest.raises(ValueError, match="purely quantized"):
        validate_quantization_for_training(Quantized())
