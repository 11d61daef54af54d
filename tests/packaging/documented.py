"""The commands of README and of the pages under docs/, and how a reader of them runs each."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"cli.md", "rules.md"}
"""Pages that are made of the commands and rules themselves."""
BLOCK = re.compile(r"^```(?:console|bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(kaitoc [^`\n]+)`")
COMPLETION = re.compile(r"_KAITOC_COMPLETE=\w+ kaitoc")
PLACEHOLDERS = {
    "[PATHS]": "manifests/", "PATHS": "manifests/", "PATH": "tuning.yaml --dry-run", "CODE": "KT401", "[NAME]": "plan",
    "NAME": "plan", "--from V --to V": "--from v0.11 --to v0.12", "...": "",
}  # fmt: skip
OPTIONS_ONLY = {
    "kaitoc compile --emit", "kaitoc compile --in-place", "kaitoc estimate --gpus 8 --nodes 2 --sharding fsdp2",
    "kaitoc estimate --model-config", "kaitoc lsp --kaito-version v0.11", "kaitoc run --dry-run",
    "kaitoc run --on cluster", "kaitoc estimate --task serve", "kaitoc estimate --gpus 16 --nodes 2 --samples N",
    "kaitoc check --strict --quiet",
}  # fmt: skip
"""Named in running text, with what they work on left out: `--help` has to know their options."""
TRAINS = "trains: tests/runtime, and the demo as a whole in `make soak`"
ELSEWHERE = {
    "kaitoc run .demo/compiled/demo.yaml --model-path .demo/model --data examples/data --output .demo/results "
    "--device cpu": TRAINS,
    "kaitoc run tuning.yaml --model-path /models/phi-3 --data data.jsonl --output results": TRAINS,
    "kaitoc run tuning.yaml --model-path ./phi-3 --data ./data.jsonl --output ./out": TRAINS,
    "kaitoc run tuning.yaml ... --resume": TRAINS,
    "kaitoc run tuning.yaml ... --overwrite": TRAINS,
    "kaitoc run tuning.yaml --on cluster": "needs a cluster: tests/engines/test_kaito_engine.py",
    "kaitoc run examples/demo.yaml --on trainjob --nodes 4 --image registry.example/kaitoc-runtime --model-claim "
    "phi-3": "needs a cluster: tests/engines/test_kubeflow_engine.py",
    "kaitoc webhook --cert tls.crt --key tls.key --partners kubernetes": "serves: tests/admission/test_webhook.py",
}
EXIT_CODES = {
    "kaitoc compile tuning.yaml --diff": 1,
    "kaitoc compile examples/demo.yaml --diff": 1,
}
"""Those that end otherwise than with 0, as their pages say."""
IN_AN_EMPTY_FOLDER = {
    "kaitoc init --model phi-4-mini-instruct --seq-len 2048 -o tuning.yaml",
    "kaitoc init --model phi-3-mini-4k-instruct --seq-len 1024 -o tuning.yaml",
}
PREPARING = (
    "kaitoc baseline manifests/",
    "kaitoc init --model phi-4-mini-instruct --gpu A100-80GB --serve -o serving/server.yaml",
)
"""What a reader ran before: it writes files that later commands read."""


@dataclass(frozen=True, slots=True)
class Documented:
    """A command as the first page that has it writes it; `is_mention`: in running text, not in a block."""

    text: str
    page: str
    is_mention: bool

    @property
    def is_named_only(self) -> bool:
        """Return whether it is no call: a command's name, or its name and an option."""
        return self.is_mention and (len(self.text.split()) == 2 or self.text in OPTIONS_ONLY)

    def variables(self) -> dict[str, str]:
        """Return the environment variables in front of it."""
        return dict(word.split("=") for word in self.text.split() if re.match(r"_[A-Z_]+=", word))

    def words(self) -> list[str]:
        """Return the arguments with which it is run."""
        text = self.text.partition("kaitoc")[2]
        if self.is_named_only:
            return [text.split()[0], "--help"]
        for placeholder, value in PLACEHOLDERS.items():
            text = re.sub(rf"(?<!\S){re.escape(placeholder)}(?!\S)", lambda _, value=value: value, text)
        return shlex.split(text)


def commands() -> list[Documented]:
    """Return each command once."""
    found: dict[str, Documented] = {}
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if page.name in GENERATED:
            continue
        text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
        for command in _of_blocks(text):
            found.setdefault(command, Documented(command, name, is_mention=False))
        for command in SPAN.findall(BLOCK.sub("", text)):
            found.setdefault(command, Documented(command, name, is_mention=True))
    return list(found.values())


def _of_blocks(page: str) -> Iterator[str]:
    """Yield what the reader types, without what it is piped from and where its output goes."""
    for block in BLOCK.findall(page):
        for line in block.splitlines():
            if completion := COMPLETION.search(line):
                yield completion[0]
            typed: str = re.sub(r"\s+#.*|\s+>\s.*", "", line.removeprefix("$ ")).rpartition("| ")[2]
            if typed.startswith("kaitoc "):
                yield typed


def write_files(folder: Path) -> None:
    """Write what the pages take for there."""
    demo = (ROOT / "examples" / "demo.yaml").read_text(encoding="utf-8")
    for name in ("manifests", "serving", "examples"):
        (folder / name).mkdir(parents=True)
    for name in ("tuning.yaml", "manifests/tuning.yaml", "examples/demo.yaml"):
        (folder / name).write_text(demo, encoding="utf-8")
    config_map = next(part for part in demo.split("---\n") if "kind: ConfigMap" in part)
    (folder / "cm.yaml").write_text(config_map, encoding="utf-8")
    suites = ROOT / "tests" / "admission" / "suites"
    for name in ("workspace-deleted", "config-map-in-order-needs-no-patch"):
        shutil.copytree(suites / name, folder / "policy" / name)
    shutil.copy(suites / "config-map-in-order-needs-no-patch" / "review.yaml", folder / "review.json")
