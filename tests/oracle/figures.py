"""Print how `check` compares with the recordings: `python tests/oracle/figures.py`, a table in Markdown.

Mechanisms are the stages at which jobs stop.
"""

from __future__ import annotations

from collections import Counter

from test_oracle_recordings import RELEASES, comparison


def main() -> None:
    """Print a row for each stage of each release."""
    print("| release | stage | stops | found | missed |\n|---|---|---|---|---|")
    for release in RELEASES:
        compared = comparison(release)
        found = Counter(record["stage"] for record in compared.found)
        missed = Counter(record["stage"] for record in compared.missed)
        for stage in sorted(found.keys() | missed.keys()):
            row = (release, stage, found[stage] + missed[stage], found[stage], missed[stage])
            print("| " + " | ".join(map(str, row)) + " |")
        totals = (len(compared.found) + len(compared.missed), len(compared.found), len(compared.missed))
        print(f"| {release} | all | " + " | ".join(map(str, totals)) + " |")
        print(f"\n{release}: errors on what trains {len(compared.false_errors)}, artefacts {compared.artefacts}\n")


if __name__ == "__main__":
    main()
