"""The run's latest numbers for Prometheus, at `http://HOST:PORT/metrics`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from transformers import TrainerCallback
from typing_extensions import override

from kaitoc.runtime.failures import RunFailure

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GAUGES = {
    "loss": "Training loss of the last logged step.",
    "eval_loss": "Loss on held-out rows at the last evaluation.",
    "learning_rate": "Learning rate of the last logged step.",
    "grad_norm": "Norm of the gradients before clipping.",
    "epoch": "Epochs of data that were trained on.",
    "mean_token_accuracy": "Share of tokens that the model predicts first.",
    "tokens_per_second": "Tokens of text per second since the start, of all processes.",
    "memory_bytes": "Bytes of memory that a process holds on its device, the most of all processes.",
    "gpu_utilization_percent": "Share of time that the GPUs compute, the mean of all processes.",
}


class PrometheusCallback(TrainerCallback):
    """Serves the logged numbers as gauges until it is closed.

    `port` 0 takes a free one, which `port` then tells. Raises `RunFailure` when the port is taken.
    """

    def __init__(self, port: int, host: str = "") -> None:
        self._values: dict[str, float] = {}
        self._lock = threading.Lock()
        try:
            self._server = ThreadingHTTPServer((host, port), self._handler())
        except (OSError, OverflowError) as error:
            raise RunFailure(f"metrics cannot be served on port {port}: {error}") from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep the numbers of a step."""
        numbers = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, (int, float))}
        with self._lock:
            self._values.update(numbers)
            self._values["step"] = state.global_step
            self._values["max_steps"] = state.max_steps

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def exposition(self) -> str:
        """Render the current metrics in Prometheus' text format."""
        with self._lock:
            values = dict(self._values)
        lines = []
        for name, text in {"step": "Steps done.", "max_steps": "Steps of the run.", **_GAUGES}.items():
            if name in values:
                metric = f"kaitoc_train_{name}"
                lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge", f"{metric} {values[name]!r}"]
        return "\n".join(lines) + "\n" if lines else ""

    def _handler(callback) -> type[BaseHTTPRequestHandler]:  # noqa: N805  (`self` is the request's)
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.partition("?")[0] in ("/metrics", "/")
                body = callback.exposition().encode("utf-8") if found else b"not found\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", _TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class names it)
                """Log nothing; scrapes would fill the pod's log."""

        return Handler


@contextmanager
def serving(port: int | None, host: str = "") -> Iterator[PrometheusCallback | None]:
    """Serve numbers while the context lasts; None serves nothing. `host` "" is every address of the machine."""
    if port is None:
        yield None
        return
    served = PrometheusCallback(port, host)
    try:
        yield served
    finally:
        served.close()
