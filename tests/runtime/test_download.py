"""Data from http addresses: whole, bounded, resumed, checked, and never telling secrets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.download import DownloadLimits, fetch, local_paths
from kaitoc.runtime.failures import DataFailure, NetworkFailure, RunFailure

CONTENT = b'{"text": "one"}\n' * 5000
LIMITS = DownloadLimits(pause_seconds=0.0)


class Server(ThreadingHTTPServer):
    """A server with a file, and with everything that can go wrong."""

    daemon_threads = True
    etag = '"1"'
    num_broken = 0
    requests: list[tuple[str, str]]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        wanted = self.headers.get("Range", "")
        self.server.requests.append((path, wanted))
        if path.startswith("/to/"):
            self.answer(302, b"", Location=path.removeprefix("/to/"))
        elif path == "/loop":
            self.answer(302, b"", Location="/loop")
        elif path == "/missing":
            self.answer(404, b"")
        elif path == "/busy":
            self.answer(503, b"")
        elif path == "/typed":
            self.answer(200, CONTENT, **{"Content-Type": "text/csv; charset=utf-8"})
        elif wanted and self.headers.get("If-Range") == self.server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.answer(206, CONTENT[start:], **{"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"})
        else:
            self.answer(200, CONTENT)

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"ETag": self.server.etag, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.num_broken and body:
            self.server.num_broken -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_under_its_name_without_the_query(server: Server, tmp_path: Path) -> None:
    path = fetch(f"{server.address}/rows.jsonl?sig=secret", tmp_path)

    assert path.name == "rows.jsonl"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["rows.jsonl"]


def test_files_of_one_name_do_not_overwrite_each_other(server: Server, tmp_path: Path) -> None:
    paths = local_paths((f"{server.address}/a/rows.jsonl", f"{server.address}/b/rows.jsonl", "/mnt/x"), tmp_path,
                        reuse=False)  # fmt: skip

    assert len(set(paths)) == 3
    assert paths[2] == "/mnt/x"


def test_a_download_that_breaks_off_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.num_broken = 2

    path = fetch(f"{server.address}/rows.jsonl", tmp_path, limits=LIMITS)

    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["", "bytes=40000-", "bytes=60000-"]


def test_a_file_that_changed_in_between_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.num_broken = 1
    with pytest.raises(NetworkFailure):
        fetch(f"{server.address}/rows.jsonl", tmp_path, limits=DownloadLimits(num_attempts=1))
    server.etag = '"2"'

    path = fetch(f"{server.address}/rows.jsonl", tmp_path, limits=LIMITS)

    assert path.read_bytes() == CONTENT


def test_a_file_that_is_there_is_reused_when_a_run_is_resumed(server: Server, tmp_path: Path) -> None:
    first = fetch(f"{server.address}/rows.jsonl", tmp_path)
    num_requests = len(server.requests)

    assert fetch(f"{server.address}/rows.jsonl", tmp_path, reuse=True) == first
    assert len(server.requests) == num_requests


def test_content_with_another_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()

    assert fetch(f"{server.address}/rows.jsonl#sha256={right}", tmp_path).read_bytes() == CONTENT
    with pytest.raises(DataFailure, match=right):
        fetch(f"{server.address}/rows.jsonl#sha256={'0' * 64}", tmp_path)


def test_the_type_of_the_content_tells_a_format_that_the_name_does_not(server: Server, tmp_path: Path) -> None:
    assert fetch(f"{server.address}/typed", tmp_path).name == "typed.csv"


def test_a_name_in_an_address_cannot_leave_the_folder_or_be_unusable(server: Server, tmp_path: Path) -> None:
    for written in ("..%2F..%2Fx.jsonl", "%00%0Ax.jsonl", "a" * 400 + ".jsonl", "..jsonl"):
        path = fetch(f"{server.address}/{written}", tmp_path, limits=LIMITS)

        assert path.resolve().parent.parent == tmp_path.resolve()
        assert path.name.isprintable()
        assert path.read_bytes() == CONTENT


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    assert fetch(f"{server.address}/to//rows.jsonl", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/missing", "the server says 404"),
        ("/busy", "in 3 attempts: the server says 503"),
        ("/loop", "more than 5 redirects"),
        ("/to/ftp://host/rows.jsonl", "not followed"),
        ("/to/file:///etc/passwd", "not followed"),
        ("/rows.jsonl#sha256=12", "64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_downloaded_is_one_message(server: Server, tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(RunFailure, match=words):
        fetch(server.address + path, tmp_path, limits=LIMITS)


def test_a_server_that_is_not_there_is_one_message(server: Server, tmp_path: Path) -> None:
    address = server.address
    server.shutdown()
    server.server_close()

    with pytest.raises(NetworkFailure, match="cannot be downloaded in 3 attempts"):
        fetch(f"{address}/rows.jsonl", tmp_path, limits=LIMITS)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataFailure, match="80,000 bytes; the limit is 1,000"):
        fetch(f"{server.address}/rows.jsonl", tmp_path, limits=DownloadLimits(max_bytes=1000))


def test_messages_do_not_tell_the_signature_of_an_address(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataFailure) as error:
        fetch(f"{server.address}/missing?sig=SECRET", tmp_path, limits=LIMITS)

    assert "SECRET" not in str(error.value)


@pytest.mark.runtime
def test_a_run_learns_from_an_address(
    server: Server, tmp_path: Path, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from kaitoc.runtime.launch.ready import RunOptions
    from kaitoc.runtime.launch.run import run_plan

    monkeypatch.setattr("test_download.CONTENT", b'{"text": "one two three"}\n' * 8)
    address = f"{server.address}/rows.jsonl?sig=SECRET"
    plan = make_plan(data={"paths": [address]}, training={"max_steps": 2})

    report = run_plan(plan, RunOptions("cpu", show_progress=False))

    assert report.num_examples == 8
    written = [path for path in Path(plan.output.path).rglob("*") if path.suffix in (".json", ".jsonl", ".html", ".md")]
    assert not [path for path in written if "SECRET" in path.read_text()]
