"""Write the JSON Schemas of Kaito's training config, and the argument tables they come from.

`python -m kaitoc.schemas.generate.training_config` renders `training_config/RELEASE.json` from
`training_config/arguments/RELEASE.json`. A table that is missing, or was read from other versions than
`catalog/releases.json` has, is first made anew: from the table of a release with the same libraries where there is one,
else the release's libraries are installed into a throwaway environment and `introspect_arguments.py` is run in it.
`--python PATH` names an environment that holds them already, `--introspect RELEASE...` reads them in any case.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.releases import BUNDLED
from kaitoc.compiler.kaito.argument_table import table_names
from kaitoc.schemas import ROOT, read_json
from kaitoc.schemas.generate.introspect_arguments import READ_FROM, is_in_release
from kaitoc.schemas.generate.training_config_schema import render_schema

FOLDER = Path(ROOT) / "training_config"
TORCH = "torch==2.13.0"
_Json = dict[str, Any]


def resolved_versions(release: str) -> dict[str, str]:
    """Return the versions of a release's libraries by name, those of the bundled runtime for `bundled`."""
    return {name: library["resolved"] for name, library in _entry(release)["libraries"].items()}


def arguments_class(release: str) -> str:
    """Name the class that a release parses TrainingArguments into, such as `trl.SFTConfig`."""
    return str(_entry(release)["arguments_class"])


def is_current(release: str) -> bool:
    """Return whether a release has an argument table, read from the versions that the catalog has."""
    if not _table_path(release).exists():
        return False
    versions = resolved_versions(release)
    stack: dict[str, str] = read_json(f"training_config/arguments/{release}")["stack"]
    return stack == {name: versions[name] for name in stack}


def read_alike(release: str) -> str | None:
    """Return a release with a current table for which the same classes of the same libraries are read, None if none."""
    alike = (other for other in table_names() if other != release and is_current(other))
    return next((other for other in alike if _what_is_read(other) == _what_is_read(release)), None)


def rendered_schema(release: str) -> str:
    """Return the text that `training_config/RELEASE.json` must have."""
    table = read_json(f"training_config/arguments/{release}")
    descriptions = read_json("training_config/descriptions")["sections"]
    missing = [
        f"{section}.{key}"
        for section, rows in table["sections"].items()
        for key in rows
        if key not in descriptions.get(section, {})
    ]
    if missing:
        raise CatalogError(
            f"schemas/training_config/descriptions.json lacks {', '.join(missing)}, which {release} accepts"
        )
    return json.dumps(render_schema(table, descriptions), indent=2, ensure_ascii=False) + "\n"


def rendered_table(table: _Json) -> str:
    """Return the text of an argument table, one argument a line."""
    head = {key: value for key, value in table.items() if key != "sections"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    sections = []
    for name, arguments in table["sections"].items():
        rows = ",\n".join(f"      {json.dumps(key)}: {json.dumps(row)}" for key, row in arguments.items())
        sections.append(f"    {json.dumps(name)}: {{\n{rows}\n    }}")
    return "{\n" + "\n".join(lines) + '\n  "sections": {\n' + ",\n".join(sections) + "\n  }\n}\n"


def current_table(release: str, python: str | None = None) -> _Json:
    """Build a release's argument table: of a release read alike, else from its libraries."""
    alike = read_alike(release)
    if alike is None:
        return introspect(release, python)
    return {**read_json(f"training_config/arguments/{alike}"), "release": release}


def introspect(release: str, python: str | None = None) -> _Json:
    """Return the argument table of a release, read from its libraries; raises `CatalogError` for other versions."""
    if python is not None:
        return _run(python, release)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        made = str(Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        versions = resolved_versions(release)
        requirements = [TORCH, *(f"{name}=={version}" for name, version in versions.items() if name != "torch")]
        subprocess.run([made, "-m", "pip", "install", "--quiet", *requirements], check=True)  # noqa: S603
        return _run(made, release)


def _run(python: str, release: str) -> _Json:
    script = Path(__file__).with_name("introspect_arguments.py")
    command = [python, str(script), str(FOLDER / "sections.json"), release, arguments_class(release)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if result.returncode != 0:
        reason = result.stderr.strip().rpartition("\n")[2]
        raise CatalogError(f"what {release} accepts cannot be read from its libraries: {reason}")
    table: _Json = json.loads(result.stdout)
    versions = resolved_versions(release)
    for name, version in table["stack"].items():
        if version != versions[name]:
            raise CatalogError(f"{python} has {name} {version}; Kaito {release} has {versions[name]}")
    return table


def _what_is_read(release: str) -> object:
    versions = resolved_versions(release)
    sections = read_json("training_config/sections")["sections"]
    fields = {
        name: [field for field, how in section["fields"].items() if is_in_release(how, release)]
        for name, section in sections.items()
    }
    return [versions[name] for name in READ_FROM], arguments_class(release), fields, release == BUNDLED


def _entry(release: str) -> _Json:
    catalog = read_json("catalog/releases")
    if release == BUNDLED:
        return dict(catalog[BUNDLED])
    return next(entry for entry in catalog["releases"] if entry["name"] == release)


def _table_path(release: str) -> Path:
    return FOLDER / "arguments" / f"{release}.json"


def _write_table(table: _Json) -> None:
    _table_path(table["release"]).write_text(rendered_table(table), encoding="utf-8")


def main() -> None:
    """Write every schema, and the tables that are stale or named by `--introspect`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--introspect", nargs="*", default=[], metavar="RELEASE")
    parser.add_argument("--python", help="an interpreter that has the release's libraries")
    options = parser.parse_args()
    try:
        for release in table_names():
            if release in options.introspect:
                _write_table(introspect(release, options.python))
            elif not is_current(release):
                _write_table(current_table(release, options.python))
        for release in table_names():
            (FOLDER / f"{release}.json").write_text(rendered_schema(release), encoding="utf-8")
    except CatalogError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
