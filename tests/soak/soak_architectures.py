"""Every architecture, by LoRA, in 4 bit and in full: it trains, saves and is read back, or is refused by name.

Of conversations each learns the tokens that TRL has it learn, with its own template where TRL ships that.

Usage: python tests/soak/soak_architectures.py [NAME...]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

import torch  # noqa: E402  (after the path)
from architecture_masks import masked  # noqa: E402
from architecture_runs import train  # noqa: E402
from build_tiny_model import build_tokenizer  # noqa: E402
from tiny_architectures import ARCHITECTURES, METHODS, save_tiny  # noqa: E402

from kaitoc.runtime.failures import RunFailure  # noqa: E402

REFUSED = {("mamba", "lora"): "out_proj", ("mamba", "nf4"): "out_proj"}
"""What a refusal names, where PEFT cannot adapt a model."""
MAX_LOSS_DIFFERENCE = 1e-3
MAX_LOGIT_DIFFERENCE = 1e-4


def fault(name: str, method: str, folder: Path) -> str:
    """Return what is wrong with a run, "" for nothing."""
    refusal = REFUSED.get((name, method))
    try:
        trained = train(method, folder / "model", folder / "rows.jsonl", folder / method)
    except RunFailure as error:
        return "" if refusal is not None and refusal in str(error) else f"refused: {error}"
    if refusal is not None:
        return "trained, where a refusal was expected"
    if abs(trained.logged_loss - trained.loss_by_hand) > MAX_LOSS_DIFFERENCE:
        return f"first loss {trained.logged_loss:.4f}, by hand {trained.loss_by_hand:.4f}"
    if float((trained.before - trained.after).abs().max()) < MAX_LOGIT_DIFFERENCE:
        return "nothing was learned"
    difference = float((trained.after - trained.reloaded).abs().max())
    return f"logits differ by {difference:.1e} when read back" if difference > MAX_LOGIT_DIFFERENCE else ""


def mask_fault(name: str, folder: Path) -> str:
    """Return what is wrong with what is learned of conversations, "" for nothing."""
    first = masked(name, folder)
    for key in ("input_ids", "labels"):
        if not torch.equal(first.ours[key], first.theirs[key]):
            return f"{key} are not TRL's"
    if abs(first.loss - first.loss_by_hand) > MAX_LOSS_DIFFERENCE:
        return f"loss of answers {first.loss:.4f}, by hand {first.loss_by_hand:.4f}"
    return ""


def main() -> int:
    """Run all and print what is wrong."""
    tokenizer = build_tokenizer()
    num_wrong = 0
    for name in sys.argv[1:] or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            rows = [{"text": f"rule {number} finds a wrong key. " * (1 + number % 3)} for number in range(24)]
            (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            save_tiny(name, folder / "model", tokenizer)
            wrongs = {method: fault(name, method, folder) for method in METHODS}
            wrongs["masks"] = mask_fault(name, folder / "chats")
            num_wrong += sum(map(bool, wrongs.values()))
            for what, wrong in wrongs.items():
                sys.stdout.write(f"{name:<12}{what:<6}{wrong or 'right'}\n")
            sys.stdout.flush()
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
