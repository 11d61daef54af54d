"""What the server logs, on standard error: its start, each denial, its stop, and what goes wrong in between.

A denial names the object and the rules' codes, never what is in the object: logs are read by more people than Secrets.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from kaitoc.compiler.admission.review import Answer, Request
from kaitoc.compiler.core.escape import printable

LOGGER = logging.getLogger("kaitoc.webhook")


class LogFormat(str, Enum):
    """Lines for people, or a JSON object a line for programs."""

    TEXT = "text"
    JSON = "json"


def start_logging(log_format: LogFormat) -> None:
    """Send the server's log, and that of the HTTP library, to standard error in a format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if log_format is LogFormat.JSON else _TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOGGER.setLevel(logging.INFO)


def log_start(host: str, port: int) -> None:
    """Log that the server answers reviews."""
    LOGGER.info("answering reviews on %s:%d", host, port, extra={"fields": {"event": "start", "port": port}})


def log_stop() -> None:
    """Log that the server has ended."""
    LOGGER.info("stopped", extra={"fields": {"event": "stop"}})


def log_denial(request: Request, answer: Answer) -> None:
    """Log which object was refused, and by which rules; what it holds is not logged."""
    name = f"{request.namespace}/{request.name}" if request.namespace else request.name
    fields = {
        "event": "denial",
        "uid": request.uid,
        "operation": request.operation,
        "kind": request.kind,
        "namespace": request.namespace,
        "name": request.name,
        "codes": list(answer.codes),
        "refused_by": list(answer.refusing_codes),
    }
    codes = ", ".join(answer.refusing_codes) or "not judged"
    LOGGER.info("denied %s of %s %s: %s", request.operation, request.kind, name, codes, extra={"fields": fields})


class _TextLines(logging.Formatter):
    """`2026-01-31T12:00:00Z info answering reviews on 0.0.0.0:8443`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one printable line."""
        return f"{_time(record)} {record.levelname.lower()} {printable(record.getMessage())}"


class _JsonLines(logging.Formatter):
    """One JSON object a line; `event` is missing where something went wrong."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a JSON object."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        line = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage(), **fields}
        return json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
