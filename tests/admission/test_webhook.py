"""The webhook answers over HTTPS as `kaitoc admit` does, and hostile clients have no effect on others."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reviews import TRAINING_CONFIG, config_map, review, workspace
from serving import HOST, JSON, Server, serving, write_certificate

pytestmark = pytest.mark.slow

NO_COLLATOR = TRAINING_CONFIG.replace("  DataCollator:\n    mlm: false\n", "")
MISSPELT = TRAINING_CONFIG.replace("torch_dtype", "torch_dtpe")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("webhook")
    (folder / "objects").mkdir()
    (folder / "objects" / "cm.yaml").write_text(yaml.safe_dump(config_map()))
    options = ("--partners", str(folder / "objects"), "--processes", "2", "--request-seconds", "1.5")
    with serving(folder, *options, "--drain-seconds", "0.5") as running:
        yield running
        assert running.stop() == 0


def response_of(answer: tuple[int, str]) -> dict[str, Any]:
    status, text = answer
    assert status == 200, text
    response: dict[str, Any] = json.loads(text)["response"]
    return response


def test_a_clean_workspace_passes_and_a_faulty_config_map_does_not(server: Server) -> None:
    assert response_of(server.review(review(workspace())))["allowed"]
    refused = response_of(server.review(review(config_map(MISSPELT))))
    assert "KT202" in refused["status"]["message"]


def test_mutation_answers_with_a_patch(server: Server) -> None:
    response = response_of(server.review(review(config_map(NO_COLLATOR)), "/mutate"))
    (operation,) = json.loads(base64.b64decode(response["patch"]))
    assert "DataCollator" in operation["value"]


def test_partners_are_found_when_their_files_change(server: Server) -> None:
    other = review(workspace(config="later"))
    assert not response_of(server.review(other))["allowed"]
    (server.folder / "objects" / "later.yaml").write_text(yaml.safe_dump(config_map(name="later")))
    for _ in range(1000):
        if response_of(server.review(other))["allowed"]:
            return
        time.sleep(0.1)
    raise AssertionError("the new ConfigMap was not found")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (gzip.compress(b"0" * 10_000_000), {**JSON, "Content-Encoding": "gzip"}, 415),
        (b"", {**JSON, "Content-Length": str(20 << 20)}, 413),
    ],
)
def test_what_is_no_review_is_refused(server: Server, body: bytes, headers: dict[str, str], status: int) -> None:
    assert server.request("POST", "/validate", body, headers)[0] == status


def test_a_large_body_without_a_length_is_refused(server: Server) -> None:
    with tls(server) as connection:
        connection.sendall(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        piece = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        is_cut_off = False
        try:
            for _ in range(80):
                connection.sendall(piece)
        except OSError:
            is_cut_off = True
        assert is_cut_off or received(connection).startswith(b"HTTP/1.1 413")
    assert response_of(server.review(review(workspace())))["allowed"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/validate", 405), ("POST", "/nowhere", 404)])
def test_other_paths_and_methods_are_refused(server: Server, method: str, path: str, status: int) -> None:
    assert server.request(method, path)[0] == status


def tls(server: Server) -> ssl.SSLSocket:
    raw = socket.create_connection((HOST, server.port), timeout=120)
    return server.context.wrap_socket(raw, server_hostname=HOST)


def received(connection: socket.socket) -> bytes:
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except TimeoutError:
        raise  # the server did not end the connection
    except OSError:
        pass
    return data


def test_a_slow_head_is_cut_off_and_others_are_served(server: Server) -> None:
    slow = [tls(server) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /validate HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert response_of(server.review(review(workspace())))["allowed"]
    for connection in slow:
        with connection:
            assert received(connection) == b""


def test_a_slow_body_is_cut_off(server: Server) -> None:
    with tls(server) as connection:
        connection.sendall(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 1000\r\n\r\n{")  # fmt: skip
        assert received(connection).startswith(b"HTTP/1.1 408")


def test_what_is_not_tls_is_refused(server: Server) -> None:
    with socket.create_connection((HOST, server.port), timeout=120) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"200" not in received(connection)
    assert response_of(server.review(review(workspace())))["allowed"]


def test_a_renewed_certificate_is_served_without_a_failed_handshake(server: Server) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()

    def knock() -> None:
        while not stop.is_set():
            try:
                with tls(server):
                    pass
            except OSError as error:
                failures.append(error)

    knocking = threading.Thread(target=knock)
    knocking.start()
    renewed = write_certificate(server.authority, server.folder)
    served = ""
    for _ in range(800):
        with tls(server) as connection:
            served = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
        if served.split() == renewed.split():
            break
        time.sleep(0.1)
    stop.set()
    knocking.join()
    assert served.split() == renewed.split()
    assert failures == []


def test_metrics_tell_of_reviews(server: Server) -> None:
    server.review(review(config_map(MISSPELT)))
    status, text = server.request("GET", "/metrics")
    assert 'kaitoc_partners_unwatched{kind="ConfigMap"} 0.0' in text
    assert status == 200
    assert 'kaitoc_reviews_total{path="/validate",verdict="refused"}' in text
    assert 'kaitoc_review_findings_total{code="KT202"}' in text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARTS = ("uid", "kind", "operation", "namespace", "name", "object", "oldObject", "dryRun")


@settings(max_examples=75, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(PARTS), values, max_size=3), values, st.sampled_from(["/validate", "/mutate"]))
def test_no_request_ends_in_a_server_error(server: Server, parts: dict[str, Any], config: object, path: str) -> None:
    data = json.loads(review(config_map(config if isinstance(config, str) else json.dumps(config))))
    data["request"].update(parts)
    assert server.review(json.dumps(data).encode(), path)[0] in (200, 400)


def test_a_signal_lets_accepted_reviews_end_and_a_second_ends_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, "--processes", "1", "--drain-seconds", "300") as server:
        body = review(config_map(MISSPELT))
        answers: list[int] = []
        sent = threading.Barrier(31)  # a client that is still connecting has no review that was accepted

        def ask() -> None:
            connection = http.client.HTTPSConnection(HOST, server.port, timeout=120, context=server.context)
            connection.request("POST", "/validate", body, JSON)
            sent.wait(120)
            answers.append(connection.getresponse().status)
            connection.close()

        clients = [threading.Thread(target=ask) for _ in range(30)]
        for client in clients:
            client.start()
        sent.wait(120)
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join()
        assert answers == [200] * 30
        assert server.process.poll() is None
        assert server.stop() == 0


def test_start_denials_and_stop_are_logged_as_json_without_content(tmp_path: Path) -> None:
    with serving(tmp_path, "--processes", "1", "--drain-seconds", "0", "--log-format", "json") as server:
        warned = MISSPELT.replace("LoraConfig:", "DataCollator: {mlm: true}\n  LoraConfig:")  # twice: a warning
        server.review(review(config_map(warned + "# hf_secretsecretsecret\n")))
        assert server.stop() == 0

    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line.get("event") for line in lines] == ["start", "denial", "stop"]
    assert lines[1]["kind"] == "ConfigMap"
    assert lines[1]["name"]
    assert lines[1]["codes"] == ["KT102", "KT202"]
    assert lines[1]["refused_by"] == ["KT202"]
    assert lines[1]["message"].endswith(": KT202")
    assert "hf_secret" not in text


def test_judging_processes_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, "--processes", "2") as server:
        children = children_of(server.process.pid)
        assert len(children) >= 2
        server.process.kill()
        server.process.wait()
        for _ in range(1200):
            if not any(is_running(child) for child in children):
                return
            time.sleep(0.1)
        raise AssertionError("the judging processes outlived the server")


def children_of(pid: int) -> list[int]:
    folder = Path(f"/proc/{pid}/task/{pid}/children")
    if not folder.exists():
        pytest.skip("this system does not tell the children of a process")
    return [int(child) for child in folder.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a webhook that cannot start to its end."""
    command = [sys.executable, "-m", "kaitoc.compiler", "webhook", "--isolated", "--processes", "1", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)


def test_an_address_in_use_is_wrong_usage(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = started(tmp_path, "--insecure-http", "--host", HOST, "--port", str(port))

    assert done.returncode == 2
    assert done.stderr.endswith(f"kaitoc: cannot listen on {HOST}:{port}\n")


def test_an_encrypted_key_is_refused_and_no_passphrase_asked_for(tmp_path: Path) -> None:
    write_certificate(trustme.CA(), tmp_path)
    encrypt = ["openssl", "pkey", "-in", "key.pem", "-aes128", "-passout", "pass:secret", "-out", "encrypted.pem"]
    subprocess.run(encrypt, cwd=tmp_path, check=True, capture_output=True)
    done = started(tmp_path, "--cert", "cert.pem", "--key", "encrypted.pem")

    assert done.returncode == 2
    assert done.stderr.startswith("kaitoc: cert.pem, encrypted.pem: cannot be loaded")
