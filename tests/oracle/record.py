"""Record what Kaito's own files do with every variant, and with every block of the rule pages.

    python tests/oracle/record.py variants v0.12 --kaito KAITO --python PYTHON [--limit 500] [--drawn SEED COUNT]
    python tests/oracle/record.py pages v0.12 --kaito KAITO --python PYTHON

`KAITO` is a folder with cli.py, parser.py, dataset.py and fine_tuning.py of Kaito's tag (presets/workspace/tuning/
text-generation); they are run where they are and never copied into the repository. `PYTHON` is an interpreter with the
release's pins (`schemas/catalog/releases.json`) and nothing that Kaito's image does not have. What is recorded
already is kept, so that a run can be stopped and taken up again; `--anew` begins from nothing. `--drawn` records
variants that are drawn at random (`drawn_variants.py`) instead of the listed ones.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import page_blocks
import variants
from drawn_variants import drawn_variants

FOLDER = Path(__file__).parent
_Json = dict[str, Any]
_PLAIN = '"base":"lora","set":{}'
_FILE = re.compile(r'File "[^"]*')
"""Where a machine keeps the file that a traceback names."""


def recording_path(kind: str, release: str) -> Path:
    """Return where a release's recording is, of `variants` or of `pages`."""
    return FOLDER / "recordings" / f"{kind}-{release}.jsonl"


def read_recording(kind: str, release: str) -> list[_Json]:
    """Return the records of a release; raises `FileNotFoundError`."""
    return [json.loads(line) for line in recording_path(kind, release).read_text(encoding="utf-8").splitlines()]


def condensed(record: _Json) -> _Json:
    """Return a record of the runner without what no test asks."""
    if record["verdict"] == "stopped":
        kept = {key: record[key] for key in ("id", "verdict", "stage", "exception") if key in record}
        message = _FILE.sub('File "', " ".join(str(record.get("message", "")).split()))
        return {**kept, "message": message[:120]} if record.get("exception") != "SystemExit" else kept
    is_learned = record["changed"] > 0 and record["finite"]
    return {"id": record["id"], "verdict": "trained" if is_learned else "unlearned"}


def waiting_variants(release: str, drawn: tuple[int, int] | None = None) -> list[_Json]:
    """Return the variants of a release as the runner takes them, in an order in which every part is like the whole."""
    every = variants.all_variants(release)
    wanted = every if drawn is None else [*every[:2], *drawn_variants(release, *drawn)]
    listed = [
        {"id": variants.variant_id(one), "config": variants.config_of(one), "data": one.get("data", "messages")}
        for one in wanted
    ]
    plain, others = listed[:2], listed[2:]
    random.Random(5).shuffle(others)
    return [*plain, *others]


def waiting_blocks() -> list[_Json]:
    """Return the blocks of the pages that can be run."""
    blocks = [block for block in page_blocks.all_blocks() if page_blocks.runnable(block)]
    plain = {"id": _PLAIN, "config": variants.base_config("lora")}
    return [plain, *({"id": block.record_id, "config": page_blocks.completed(block)} for block in blocks)]


def record(options: argparse.Namespace) -> None:
    """Run what is not recorded yet, and write the recording."""
    kind, release = options.kind, options.release
    path = recording_path(kind, release)
    known = {} if options.anew or not path.exists() else {one["id"]: one for one in read_recording(kind, release)}
    waiting = waiting_variants(release, options.drawn) if kind == "variants" else waiting_blocks()
    missing = [one for one in waiting if one["id"] not in known and one["id"] != _PLAIN][: options.limit]
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "variants.jsonl", Path(folder) / "records.jsonl"
        given.write_text("".join(json.dumps(one, default=str) + "\n" for one in missing), encoding="utf-8")
        command = [options.python, str(FOLDER / "kaito_runner.py"), options.kaito, str(given), str(found)]
        try:
            subprocess.run(["unshare", "-rm", *command], check=True)
        finally:
            if found.exists():
                merge(kind, release, found, known)


def merge(kind: str, release: str, found: Path, known: dict[str, _Json]) -> None:
    """Add the runner's records to a recording, and write it sorted."""
    records = dict(known)
    for line in found.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        if one["id"] != _PLAIN:
            records[one["id"]] = condensed(one)
    path = recording_path(kind, release)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(records[name]) + "\n" for name in sorted(records)), encoding="utf-8")


def main() -> None:
    """Record as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("variants", "pages"))
    parser.add_argument("release")
    parser.add_argument("--kaito", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--drawn", nargs=2, type=int, metavar=("SEED", "COUNT"))
    parser.add_argument("--anew", action="store_true")
    record(parser.parse_args())


if __name__ == "__main__":
    main()
