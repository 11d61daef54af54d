"""Other estimators' answers for measured rows. Runs inside a throwaway environment that holds them, without kaitoc.

Reads a JSON list of rows on standard input, writes {name: [bytes or null, ...]} to standard output. A null is a row the
estimator cannot express or refuses. Every estimator is called as its documentation shows, with all settings it takes.
"""

import json
import sys
from contextlib import redirect_stdout

MIB = 2**20
GIB = 2**30


def fitcheck(row):
    from fitcheck.config_parser import ModelConfig
    from fitcheck.estimator import TrainingConfig, estimate
    from fitcheck.gpu_db import GPU_DB

    if row["num_experts"]:
        return None
    config = ModelConfig(
        row["model"],
        row["num_parameters"],
        row["hidden"],
        row["layers"],
        row["heads"],
        row["kv_heads"],
        row["intermediate"],
        row["vocab"],
        row["head_dim"],
        row["tied"],
    )
    training = TrainingConfig(
        precision=row["precision"],
        optimizer_dtype="fp32" if row["rank"] else row["precision"],
        quantization=row["quantization"],
        double_quant=row["double_quant"],
        batch_size=row["batch"],
        seq_len=row["seq_len"],
        lora_rank=row["rank"],
        lora_targets=row["targets"],
        grad_checkpoint=row["checkpointing"],
        flash_attn=row["flash"],
    )
    gpu = next(spec for spec in GPU_DB.values() if "A100" in spec.name and spec.vram_mib > 60_000)
    return estimate(config, training, gpu).total_mib * MIB


def accelerate(row):
    from accelerate import init_empty_weights
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**row["config"])
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config)
    total, _ = calculate_maximum_sizes(model)
    usage = estimate_training_usage(total, row["dtype"] if row["dtype"] != "bfloat16" else "float16")
    return max(usage.values())


def llm_analysis(row):
    from llm_analysis.analysis import ActivationRecomputation, LLMAnalysis
    from llm_analysis.config import ModelConfig, get_dtype_config_by_name, get_gpu_config_by_name

    if row["rank"] or row["num_experts"]:
        return None
    model = ModelConfig(
        name=row["model"],
        num_layers=row["layers"],
        n_head=row["heads"],
        num_key_value_heads=row["kv_heads"],
        hidden_dim=row["hidden"],
        vocab_size=row["vocab"],
        ffn_embed_dim=row["intermediate"],
        max_seq_len=row["seq_len"],
    )
    analysis = LLMAnalysis(
        model, get_gpu_config_by_name("a100-sxm-80gb"), get_dtype_config_by_name("w16a16e16"), flops_efficiency=0.5
    )
    summary = analysis.training(
        batch_size_per_gpu=row["batch"],
        seq_len=row["seq_len"],
        total_num_tokens=10**6,
        activation_recomputation=ActivationRecomputation.FULL if row["checkpointing"] else ActivationRecomputation.NONE,
        flash_attn=row["flash"],
    )
    return summary["(weight+op_state+grad+act)_memory_per_gpu"]


def ftuneai(row):
    from ftuneai.core.memory import MemoryEstimator
    from ftuneai.core.models import FineTuneMethod, LoRATarget, ModelSpec, Quantization, TrainingConfig

    spec = ModelSpec(
        row["model"],
        row["num_parameters"],
        row["hidden"],
        row["layers"],
        row["heads"],
        row["kv_heads"],
        row["intermediate"],
        row["vocab"],
        row["seq_len"],
    )
    quantized = row["quantization"] != "none"
    method = FineTuneMethod.FULL if not row["rank"] else FineTuneMethod.QLORA if quantized else FineTuneMethod.LORA
    config = TrainingConfig(
        model=row["model"],
        method=method,
        quantization=Quantization.INT4 if quantized else Quantization.NONE,
        batch_size=row["batch"],
        seq_length=row["seq_len"],
        gradient_checkpointing=row["checkpointing"],
        lora_rank=row["rank"] or 16,
        lora_target=LoRATarget.ATTENTION_ALL,
        flash_attention=row["flash"],
    )
    return MemoryEstimator(spec, config).estimate().total_gb * GIB


def canifinetune(row):
    from canifinetune.estimator.memory import EstimateRequest, estimate

    method = "full" if not row["rank"] else "qlora" if row["quantization"] != "none" else "lora"
    override = {
        "hidden_size": row["hidden"],
        "num_hidden_layers": row["layers"],
        "num_attention_heads": row["heads"],
        "num_key_value_heads": row["kv_heads"],
        "intermediate_size": row["intermediate"],
        "vocab_size": row["vocab"],
        "tie_word_embeddings": row["tied"],
        "total_params": row["num_parameters"],
    }
    request = EstimateRequest(
        model_id=row["model"],
        method=method,
        seq_len=row["seq_len"],
        micro_batch_size=row["batch"],
        base_dtype=row["precision"],
        quantization="nf4_double_quant",
        lora_rank=row["rank"] or 16,
        target_modules=row["targets"] or None,
        optimizer="adamw_torch",
        gradient_checkpointing=row["checkpointing"],
        attention_implementation="flash_attention_2" if row["flash"] else "sdpa",
        gpu_vram_gb=80.0,
        override=override,
        use_network=False,
    )
    return estimate(request).memory.total_estimated_gb * GIB


def hf_vram_calc(row):
    from hf_vram_calc.calculator import VRAMCalculator
    from hf_vram_calc.config import ConfigManager
    from hf_vram_calc.models import ModelConfig

    calculator = VRAMCalculator(ConfigManager())
    dtype = "int4" if row["quantization"] != "none" else row["precision"]
    weights = calculator.calculate_model_memory(row["num_parameters"], dtype)
    config = ModelConfig(row["model"], row["vocab"], row["hidden"], row["layers"], row["heads"])
    activations = calculator.estimate_activation_memory(config, row["batch"], row["seq_len"])
    if row["rank"]:
        return (calculator.calculate_lora_memory(weights, row["num_parameters"], row["rank"]) + activations) * GIB
    return (calculator.calculate_training_memory(weights) + activations) * GIB


PEERS = {
    "fitcheck-llm": fitcheck,
    "accelerate estimate-memory": accelerate,
    "llm-analysis": llm_analysis,
    "ftuneai": ftuneai,
    "canifinetune": canifinetune,
    "hf-vram-calc": hf_vram_calc,
}


def answer(function, row):
    """Return one estimator's bytes for one row, None where it cannot say."""
    try:
        with redirect_stdout(sys.stderr):
            value = function(row)
    except Exception as error:  # whatever a third-party estimator raises counts as no answer
        print(f"{function.__name__}: {row['model']}: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    return None if value is None else float(value)


def main():
    """Answer all rows for all estimators."""
    rows = json.load(sys.stdin)
    json.dump({name: [answer(function, row) for row in rows] for name, function in PEERS.items()}, sys.stdout)


if __name__ == "__main__":
    main()
