"""The name of a downloaded file is what the shell makes of a URL in Kaito's `data-downloader.sh`."""

from __future__ import annotations

import subprocess

from kaitoc.rules._dataset import url_file_name

LINE = """for url in "$@"; do echo "$(basename "$url" | sed 's/[?#].*//')"; done"""
"""As the script has it, but for the names of its variables."""
URLS = [
    "https://example.com/train.json",
    "https://example.com/a/train.json/",
    "https://example.com/a/train.json?download=true",
    "https://example.com/a/train.json?sig=abc/def%3D",
    "https://example.com/a/train.json?sig=abc/",
    "https://example.com/a/train.json#part/two.csv",
    "https://example.com/a/?train.json",
    "https://example.com/a/train.json?next=https://example.com/b.csv",
    "https://example.com",
    "https://example.com/a//train.parquet//",
]


def test_the_name_is_what_the_shell_makes_of_the_url() -> None:
    printed = subprocess.run(["sh", "-c", LINE, "sh", *URLS], check=True, stdout=subprocess.PIPE, text=True).stdout

    assert [url_file_name(url) for url in URLS] == printed.splitlines()
