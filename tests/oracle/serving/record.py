"""Record what Kaito's launcher and a release's vLLM do with every text of `texts.py`.

    python tests/oracle/serving/record.py v0.12 --wheel WHEEL --kaito KAITO --python PYTHON

`WHEEL` is vLLM's wheel from PyPI (`pip download --no-deps`), of which only the Python files are unpacked; `KAITO` a
folder with inference_api.py of Kaito's tag, and rate_limit.py where it has one; `PYTHON` an interpreter with the
libraries that vLLM imports on a CPU. `--introspect` prints the table of options instead
(`schemas/inference_config/options`). `--compiled` records what `kaitoc compile` makes of the recorded texts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import texts

from kaitoc.schemas import read_json

_Json = dict[str, Any]
FOLDER = Path(__file__).parent
NUM_TEXTS = 1275
_MOST_CHARACTERS = 110
_MODEL = ("--load_format=auto", "--config_format=auto", "--tokenizer_mode=auto", "--trust-remote-code",
          "--dtype=bfloat16", "--tool-call-parser=llama3_json", "--enable-auto-tool-choice",
          "--served-model-name=llama-3.1-8b-instruct", "--model=MODEL", "--tensor-parallel-size=1")  # fmt: skip
"""What Kaito's generator and controller say of Llama 3.1 8B on one GPU, in every release."""


def unpack(wheel: str, folder: Path) -> None:
    """Unpack a wheel's Python files and what they read."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith((".py", ".json", "METADATA", ".txt")):
                archive.extract(name, folder)


def controller(release: str) -> list[str]:
    """Return the arguments that a release's controller writes."""
    entry = next(one for one in read_json("catalog/releases")["releases"] if one["name"] == release)
    arguments = entry["serving"]["arguments"]
    given = [f"--{name}={value}" if value else f"--{name}" for name, value in arguments.items()]
    return [*_MODEL, *given] if "max-model-len" in arguments else [*_MODEL, *given, "--max-model-len=131072"]


def chosen_texts(release: str) -> list[str]:
    """Return all texts that somebody thought of, and as many of the others as make up the number."""
    every, named = texts.all_texts(release), texts.named_texts()
    others = [text for text in every if text not in named]
    random.Random(7).shuffle(others)
    kept = named | set(others[: max(0, NUM_TEXTS - len(named))])
    return [text for text in every if text in kept]


def compiled_texts(release: str) -> list[str]:
    """Return the texts that `kaitoc compile` writes in place of recorded ones, each once."""
    sys.path.insert(0, str(FOLDER.parent))
    from compiled_texts import inner_text, recorded  # the command alone needs kaitoc's compiler

    made = (inner_text(release, text) for text, _ in recorded(release, "serving"))
    return list(dict.fromkeys(text for text in made if text is not None))


def condensed(record: _Json) -> _Json:
    """Return a record without what no test asks."""
    if "stage" in record:
        return {"stage": record["stage"], "error": record["error"][:_MOST_CHARACTERS]}
    changed = {name: value if len(json.dumps(value)) < 80 else "..." for name, value in record["changed"].items()}
    return {"changed": {name: value for name, value in changed.items() if name != "kv_transfer_config"}}


def recorded_chain(options: argparse.Namespace, chosen: list[str]) -> list[_Json]:
    """Return what the launcher and vLLM of the command line do with texts."""
    with unpacked(options) as (folder, environment):
        found, given = folder / "records.jsonl", folder / "texts.jsonl"
        given.write_text("".join(json.dumps(text) + "\n" for text in chosen), encoding="utf-8")
        command = [options.python, FOLDER / "vllm_runner.py", options.kaito, given, found]
        subprocess.run(command, env=environment, check=True)
        return [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]


@contextmanager
def unpacked(options: argparse.Namespace) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a folder for files, and an environment in which the wheel can be imported."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(options.wheel, folder / "vllm")
        path = os.pathsep.join([str(folder / "vllm"), *filter(None, [os.environ.get("PYTHONPATH")])])
        yield folder, {**os.environ, "PYTHONPATH": path, "CONTROLLER": json.dumps(controller(options.release))}


def main() -> None:
    """Record as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    for name in ("--wheel", "--kaito", "--python"):
        parser.add_argument(name, required=True)
    for name in ("--introspect", "--compiled"):
        parser.add_argument(name, action="store_true")
    options = parser.parse_args()
    if options.introspect:
        with unpacked(options) as (_, environment):
            subprocess.run([options.python, FOLDER / "introspect_vllm.py"], env=environment, check=True)
        return
    chosen = compiled_texts(options.release) if options.compiled else chosen_texts(options.release)
    kind = "compiled" if options.compiled else "serving"
    target = FOLDER.parent / "recordings" / f"{kind}-{options.release}.jsonl"
    pairs = zip(chosen, map(condensed, recorded_chain(options, chosen)), strict=True)
    target.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
