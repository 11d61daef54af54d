"""Serves the stand-in's store over HTTP, with the faults that a test asks for."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from standin.kinds import Kind, discovery, openapi_v2
from standin.store import Object, StatusError, Store

DISCONNECT = 0
_PATH = re.compile(
    r"^/(?:api|apis)(?:/(?P<group>[^/]+\.[^/]+|batch))?/(?P<version>v[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>log|status))?$"
)


class StandIn:
    """A stand-in API server. `before_read` runs before each request for an object named by kind and verb.

    `faults` are answered in place of what is asked, one each: a status code, or `DISCONNECT`.
    """

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.kinds = list(kinds)
        self.reset()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"

    def reset(self) -> None:
        """Forget all objects, requests and faults."""
        self.store = Store()
        self.requests: list[str] = []
        self.faults: list[int] = []
        self.forbidden: set[str] = set()
        self.logs: dict[str, str] = {}
        self.before_read: Callable[[str], None] = lambda _plural: None

    @contextmanager
    def serving(self) -> Iterator[StandIn]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()

    def kind(self, name: str) -> Kind:
        return next(kind for kind in self.kinds if kind.name == name)

    def put(self, content: Object, manager: str = "somebody") -> Object:
        """Store an object."""
        return self.store.replace(self.kind(content["kind"]), content, manager)

    def writes(self) -> list[str]:
        """Return the requests that store something."""
        return [line for line in self.requests if not line.startswith("GET") and "dryRun" not in line]


def _handler(server: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        standin = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    standin: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_PATCH = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if url.path == "/openapi/v2":
            kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            self._send(200, openapi_v2(self.standin.kinds), kind)
            return
        document = discovery(self.standin.kinds, url.path)
        if document is not None:
            self._send_json(200, document)
            return
        self.standin.requests.append(f"{self.command} {self.path}")
        if self.standin.faults and (fault := self.standin.faults.pop(0)) != 200:
            self._fail(fault)
            return
        try:
            self._serve(url.path, {key: values[0] for key, values in parse_qs(url.query).items()}, body)
        except StatusError as error:
            self._send_status(error)

    def _serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        match = _PATH.match(path)
        kind = next((kind for kind in self.standin.kinds if match and kind.plural == match["plural"]), None)
        if match is None or kind is None or kind.group != (match["group"] or ""):
            raise StatusError(404, "NotFound", f"the server could not find {path}")
        if kind.plural in self.standin.forbidden:
            raise StatusError(403, "Forbidden", f'{kind.plural} is forbidden: User "u" cannot list it')
        namespace, name = match["namespace"] or "", match["name"]
        store = self.standin.store
        if self.command == "GET":
            self.standin.before_read(f"{kind.plural}/log" if match["part"] else kind.plural)
            if match["part"] == "log":
                self._send(200, self._log(name or "", query).encode(), "text/plain")
            elif name:
                self._send_json(200, store.get(kind.plural, namespace, name))
            elif query.get("watch"):
                self._watch(kind, query)
            else:
                items = store.list(kind.plural, namespace, _chosen(query))
                listed = {"apiVersion": kind.api_version, "kind": f"{kind.name}List"}
                self._send_json(200, {**listed, "metadata": {"resourceVersion": store.version}, "items": items})
            return
        dry_run = query.get("dryRun") == "All"
        if self.command == "DELETE":
            self._send_json(200, store.delete(kind.plural, namespace, name or ""))
            return
        item = yaml.safe_load(body)
        if self.command == "PATCH":
            manager, force = query.get("fieldManager", "unknown"), query.get("force") == "true"
            self._send_json(200, store.apply(kind, item, manager, force=force, dry_run=dry_run))
        else:
            self._send_json(200, store.replace(kind, item, dry_run=dry_run))

    def _log(self, pod: str, query: dict[str, str]) -> str:
        """Return a container's log; lines begin with their time stamp, which is cut off unless asked for."""
        try:
            lines = self.standin.logs[f"{pod}/{query.get('container', '')}"].splitlines()
        except KeyError:
            raise StatusError(400, "BadRequest", "container is waiting to start") from None
        since = query.get("sinceTime", "")[:19]
        lines = [line for line in lines if line[:19] >= since]
        with_stamps = query.get("timestamps") == "true"
        return "".join((line if with_stamps else line.partition(" ")[2]) + "\n" for line in lines)

    def _watch(self, kind: Kind, query: dict[str, str]) -> None:
        store, version = self.standin.store, int(query.get("resourceVersion") or 0)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            try:
                with store.lock:
                    changes = store.changes_since(version, kind.plural)
            except StatusError as error:
                self._write_line({"type": "ERROR", "object": _status(error)})
                break
            for version, change, item in changes:  # noqa: B007  # the last version is where the watch goes on
                self._write_line({"type": change, "object": item})
            if self.standin.faults and self.standin.faults[0] == DISCONNECT:
                self.standin.faults.pop(0)
                break
            with store.lock:
                store.lock.wait(0.05)
        self.close_connection = True

    def _write_line(self, content: Object) -> None:
        self.wfile.write(json.dumps(content).encode() + b"\n")
        self.wfile.flush()

    def _fail(self, fault: int) -> None:
        if fault == DISCONNECT:
            self.close_connection = True
            self.connection.close()
            return
        reasons = {
            401: "Unauthorized", 403: "Forbidden", 410: "Expired", 429: "TooManyRequests", 500: "InternalError",
            503: "ServiceUnavailable", 504: "Timeout",
        }  # fmt: skip
        self._send_status(StatusError(fault, reasons[fault], f"the test says {fault}"))

    def _send_status(self, error: StatusError) -> None:
        self._send_json(error.code, _status(error))

    def _send_json(self, code: int, content: Any) -> None:
        self._send(code, json.dumps(content).encode(), "application/json")

    def _send(self, code: int, content: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _status(error: StatusError) -> Object:
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(error), "reason": error.reason,
        "code": error.code,
    }  # fmt: skip


def _chosen(query: dict[str, str]) -> Callable[[Object], bool]:
    """Return whether an object is in the labels and fields that a list asks for."""
    labels = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
    fields = dict(part.split("=", 1) for part in query.get("fieldSelector", "").split(",") if part)

    def matches(item: Object) -> bool:
        own = item["metadata"].get("labels") or {}
        has_labels = all(own.get(key) == value for key, value in labels.items())
        return has_labels and all(_at(item, key) == value for key, value in fields.items())

    return matches


def _at(item: Any, path: str) -> Any:
    for key in path.split("."):
        item = item.get(key) if isinstance(item, dict) else None
    return item
