"""Write the conditions between options that the libraries' own `raise` statements state.

`python -m kaitoc.schemas.generate.conditions` takes the rows of `raises/RELEASE.jsonl` (`introspect_raises.py`) and
writes `when`, `since` and `until` of each entry of `conditions/options.json` that names one under `raised`: the module
it is in and how its message begins. `alternative` picks one of several alternatives, and `beside` has tests that no
`raise` shows. What an entry says, and its help, are written by hand; so are entries without `raised`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kaitoc.schemas import ROOT, read_json

_Json = dict[str, Any]
RELEASES = ("v0.10", "v0.11", "v0.12")
"""The releases whose libraries are recorded; older ones have those of the first."""
PATH = Path(ROOT) / "conditions" / "options.json"
_ORDER = (
    "code",
    "key",
    "raised",
    "alternative",
    "beside",
    "when",
    "since",
    "until",
    "severity",
    "stage",
    "says",
    "help",
)


class UnknownRaiseError(ValueError):
    """An entry names a `raise` that no release has, or whose condition is not all of options."""


def raises(release: str) -> list[_Json]:
    """Return the rows of a release."""
    path = Path(__file__).with_name("raises") / f"{release}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_named(row: _Json, raised: str) -> bool:
    """Return whether a row is the `raise` that an entry names."""
    module, _, message = raised.partition(": ")
    place, says = str(row["at"]), str(row["message"])
    return place.rpartition(".")[0] == module and says.startswith(message)


def generated(entries: list[_Json]) -> list[_Json]:
    """Return the entries, those that name a `raise` with its condition; raises `UnknownRaiseError`."""
    rows = {release: raises(release) for release in RELEASES}
    return [_with_condition(entry, rows) if "raised" in entry else entry for entry in entries]


def _with_condition(entry: _Json, rows: dict[str, list[_Json]]) -> _Json:
    found = {}
    for release, listed in rows.items():
        row = next((row for row in listed if row.get("when") and is_named(row, entry["raised"])), None)
        if row is not None:
            found[release] = row["when"][entry.get("alternative", 0)]
    if not found:
        raise UnknownRaiseError(f"no release raises {entry['raised']!r} under options alone")
    newest = max(found, key=RELEASES.index)
    alike = [release for release in RELEASES if found.get(release) == found[newest]]
    written = {name: value for name, value in entry.items() if name not in ("since", "until")}
    written["when"] = [*found[newest], *entry.get("beside", [])]
    written.update({"since": alike[0]} if alike[0] != RELEASES[0] else {})
    written.update({"until": alike[-1]} if alike[-1] != RELEASES[-1] else {})
    return {name: written[name] for name in _ORDER if name in written}


def rendered(data: _Json) -> str:
    """Return the text of the file, one condition a line."""
    head = {name: value for name, value in data.items() if name != "conditions"}
    lines = json.dumps(head, indent=2, ensure_ascii=False)[:-2]
    rows = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in data["conditions"])
    return f'{lines},\n  "conditions": [\n{rows}\n  ]\n}}\n'


def main() -> None:
    """Write the file anew."""
    data = dict(read_json("conditions/options"))
    data["conditions"] = generated(data["conditions"])
    PATH.write_text(rendered(data), encoding="utf-8")


if __name__ == "__main__":
    main()
