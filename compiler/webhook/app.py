"""The webhook's HTTP surface: reviews, health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kaitoc.compiler.admission.answer import surroundings_of
from kaitoc.compiler.admission.partners import Partners
from kaitoc.compiler.admission.review import Answer, Request, ReviewError, read_review, render_answer
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.webhook.judging import Judges, JudgingError
from kaitoc.compiler.webhook.log import log_denial
from kaitoc.compiler.webhook.metrics import Metrics

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds of one server. A body of 3 MiB is the most that the API server itself takes."""

    max_body_bytes: int = 3 << 20
    max_in_flight: int = 512
    body_seconds: float = 10.0
    judging_seconds: float = 8.0


class RefusedError(Exception):
    """A request that is not a review we take; answered with a status and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Webhook:
    """Answers reviews. `fails_open` lets objects pass that could not be judged."""

    def __init__(
        self, judges: Judges, partners: Partners, limits: RequestLimits, metrics: Metrics, *, fails_open: bool
    ):
        self.metrics = metrics
        self.is_ready = False
        self.is_draining = False
        self._judges = judges
        self._partners = partners
        self._limits = limits
        self._fails_open = fails_open
        self._num_in_flight = 0

    def app(self, lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]]) -> Starlette:
        """Return the application; `lifespan` is what runs beside it."""
        return Starlette(
            routes=[
                Route("/validate", self._review, methods=["POST"]),
                Route("/mutate", self._review, methods=["POST"]),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
            ],
            lifespan=lifespan,
        )

    async def start(self) -> None:
        """Load everything once, and be ready; raises `JudgingError`."""
        await self._judges.warm_up()
        self.is_ready = True

    def close(self) -> None:
        """End the judging processes."""
        self._judges.close()

    async def _healthz(self, _: HttpRequest) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: HttpRequest) -> Response:
        """Answer 200 once reviews can be judged; what the cluster does not let it see is told with it.

        A pod that may not list ConfigMaps judges what it is shown, as before they were listed, so it stays in service.
        """
        if not self.is_ready or self.is_draining:
            return PlainTextResponse("not ready\n", 503)
        problems = [f"cannot watch {kind}s: {why}" for kind, why in sorted(self._partners.problems.items())]
        return PlainTextResponse("\n".join(["ok", *problems]) + "\n")

    async def _metrics(self, _: HttpRequest) -> Response:
        self.metrics.tell_partners(self._partners.problems)
        return Response(self.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _review(self, http_request: HttpRequest) -> Response:
        if self._num_in_flight >= self._limits.max_in_flight:
            self.metrics.count_refused(503)
            return PlainTextResponse("too many reviews at once\n", 503, {"Retry-After": "1"})
        self._num_in_flight += 1
        try:
            with self.metrics.in_flight.track_inprogress(), self.metrics.seconds.time():
                return await self._reviewed(http_request)
        except RefusedError as error:
            self.metrics.count_refused(error.status)
            return PlainTextResponse(f"{error}\n", error.status, {"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._num_in_flight -= 1

    async def _reviewed(self, http_request: HttpRequest) -> Response:
        data = await self._body(http_request)
        try:
            request = read_review(data)
        except ReviewError as error:
            raise RefusedError(400, str(error)) from error
        path = http_request.url.path
        verdict, answer = await self._judged(request, data, mutates=path == "/mutate")
        self.metrics.count(path, verdict, answer)
        if not answer.is_allowed:
            log_denial(request, answer)
        headers = {"Connection": "close"} if self.is_draining else {}
        return Response(render_answer(request.uid, answer), media_type=JSON_TYPE, headers=headers)

    async def _judged(self, request: Request, data: bytes, *, mutates: bool) -> tuple[str, Answer]:
        try:
            answer = await self._judges.judge(
                data,
                surroundings_of(request, self._partners),
                mutates=mutates,
                timeout_seconds=self._limits.judging_seconds,
            )
        except JudgingError as error:
            if self._fails_open:
                return "unjudged", Answer(is_allowed=True, warnings=(f"kaitoc admitted this without a check: {error}",))
            return "unjudged", Answer(
                is_allowed=False, message=f"kaitoc could not check this: {error}", status_code=500
            )
        return ("allowed" if answer.is_allowed else "refused"), answer

    async def _body(self, http_request: HttpRequest) -> bytes:
        headers = http_request.headers
        if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
            raise RefusedError(415, f"a review is {JSON_TYPE}")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedError(415, "compressed reviews are not accepted")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limits.max_body_bytes:
            raise RefusedError(413, f"a review may have at most {self._limits.max_body_bytes:,} bytes")
        try:
            return await asyncio.wait_for(self._read(http_request), self._limits.body_seconds)
        except asyncio.TimeoutError as error:
            raise RefusedError(408, "the review arrived too slowly") from error

    async def _read(self, http_request: HttpRequest) -> bytes:
        pieces: list[bytes] = []
        num_bytes = 0
        async for piece in http_request.stream():
            num_bytes += len(piece)
            if num_bytes > self._limits.max_body_bytes:
                raise RefusedError(413, f"a review may have at most {self._limits.max_body_bytes:,} bytes")
            pieces.append(piece)
        return b"".join(pieces)
