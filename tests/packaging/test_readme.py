"""What the README shows is what the commands say today."""

import re
from pathlib import Path

import pytest

from kaitoc.compiler.cli import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE_BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)\n```", re.DOTALL)


def shown_output(command: str) -> str:
    """The README's output of a command."""
    return next(block["output"] for block in CONSOLE_BLOCK.finditer(README) if block["command"].startswith(command))


def test_the_run_that_is_shown_has_the_demos_number_of_steps() -> None:
    num_rows = sum(
        len(file.read_text(encoding="utf-8").splitlines()) for file in (ROOT / "examples/data").glob("*.jsonl")
    )
    demo = (ROOT / "examples/demo.yaml").read_text(encoding="utf-8")
    num_epochs, batch, accumulation = (
        int(re.search(rf"{key}: (\d+)", demo)[1])  # type: ignore[index]  # a missing key is a failure of this test too
        for key in ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps")
    )
    num_steps = num_epochs * -(-num_rows // (batch * accumulation))
    assert f"steps     {num_steps} in " in shown_output("kaitoc run")
    assert f"data: {num_rows} examples;" in shown_output("kaitoc run")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readmes_table(command: str) -> None:
    table = "".join(line for line in README.splitlines(keepends=True) if line.startswith("| `kaitoc"))
    assert re.search(rf"`(kaitoc )?{command}\b", table)
