"""One process of several that load a sharded model: what it holds once loaded, and what the shards add up to."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from unittest.mock import patch

from child_runs import _CONTEXT, ENVIRONMENT

from kaitoc.compiler.plan.plan import Plan, read_plan

TIMEOUT_SECONDS = 300


def load_in_ranks(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Load a plan's model in all its processes; return what each reports: what it added, and the whole weights."""
    import torch

    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = range(plan.num_processes)
    with patch.dict(os.environ, ENVIRONMENT):
        processes = [
            _CONTEXT.Process(target=_load, args=(plan.to_json(), rank, port, str(folder / f"{rank}.pt")))
            for rank in ranks
        ]
        for process in processes:
            process.start()
    for process in processes:
        process.join(TIMEOUT_SECONDS)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in ranks]


def _load(text: str, rank: int, port: int, place: str) -> None:
    plan = read_plan(text)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(plan.num_processes),
        LOCAL_WORLD_SIZE=str(plan.num_processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    import torch
    from transformers import set_seed
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: F401  # imported before memory is counted

    from kaitoc.runtime.launch.ready import build_model
    from kaitoc.runtime.model.load import load_tokenizer
    from kaitoc.runtime.model.sharding import shard_on_cpu
    from kaitoc.runtime.training.arguments import training_arguments

    arguments = training_arguments(plan, "cpu")
    set_seed(plan.training.seed)
    tokenizer = load_tokenizer(plan)
    before = _resident_bytes()
    model = build_model(plan, "cpu", tokenizer)
    after = _resident_bytes()
    devices = sorted({str(value.device) for value in model.parameters() if not value.requires_grad})
    whole = _sharded(model, arguments, shard_on_cpu)
    report = {"loaded_bytes": after - before, "frozen_on": devices, "whole": whole if rank == 0 else {}}
    torch.save(report, place)
    torch.distributed.barrier()
    os._exit(0)


def _sharded(model: Any, arguments: Any, shard_on_cpu: Any) -> dict[str, Any]:
    """Shard a model as the trainer does and put its parameters together again."""
    import torch
    from transformers import Trainer

    class Sharding(Trainer):
        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            shard_on_cpu(self)

    trainer = Sharding(model=model, args=arguments)
    trainer.create_optimizer()
    sharded, _ = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    return {name: value.full_tensor().detach().to(torch.float32).clone() for name, value in sharded.named_parameters()}


def _resident_bytes() -> int:
    """Return the anonymous memory of this process: files that are mapped are the page cache's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
