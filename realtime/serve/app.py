"""The application: routes and what they answer."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from aiortc import RTCSessionDescription
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realtime.serve.access import COOKIE, PAGE, SESSION_S, AccessMiddleware, Policy, Sessions, login_page
from realtime.serve.detection import Detection, DetectStill
from realtime.serve.encoders import jpeg
from realtime.serve.errors import HttpError, on_framework_error, on_http_error
from realtime.serve.limits import Limits, Rate, TooLargeError, client_of, read_body
from realtime.serve.messages import camera_message
from realtime.serve.multipart import page_response, video_response
from realtime.serve.openapi import description
from realtime.serve.registry import Registry, Served
from realtime.serve.webrtc import Peers

SNAPSHOT_QUALITY = 95
HEARTBEAT_S = 15.0
"""A comment is sent to listeners this often, so that connections that broke are noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the page says of the model."""

    model: str
    provider: str
    class_names: tuple[str, ...]


class App:
    """Handlers, and what they share. Made in the event loop."""

    def __init__(
        self,
        registry: Registry,
        detect: DetectStill,
        shown: Shown,
        *,
        policy: Policy,
        sessions: Sessions,
        limits: Limits,
    ) -> None:
        self.registry = registry
        self.peers = Peers(registry, limits.viewers, limits.guests)
        self.closing = asyncio.Event()
        self._sessions = sessions
        self._shown = shown
        self._limits = limits
        self._detection = Detection(registry.engine, detect, registry.controls.threshold, limits)
        self._requests = Rate(limits.requests_per_s, limits.burst)
        self._logins = Rate(limits.logins_per_minute / 60, limits.logins_per_minute)
        self._listeners = self._streams = 0
        self._policy = policy

    def asgi(self) -> Starlette:
        """The application that a server runs."""
        routes = [
            Route("/", self._index),
            Route("/docs", self._docs),
            Route("/openapi.json", self._openapi),
            Route("/login", self._login_page),
            Route("/login", self._login, methods=["POST"]),
            Route("/enter/{code}", self._enter),
            Route("/link", self._link, methods=["POST"]),
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            Route("/events", self._events),
            Route("/detect", self._detect, methods=["POST"]),
            Route("/cameras", self._cameras),
            Route("/cameras/{name}", self._camera),
            Route("/cameras/{name}/snapshot.jpg", self._snapshot),
            Route("/cameras/{name}/video.mjpg", self._video),
            Route("/cameras/{name}/webrtc", self._view, methods=["POST"]),
            Route("/streams", self._page_streams),
            Route("/guests", self._receive, methods=["POST"]),
            Mount("/page", StaticFiles(directory=PAGE)),
        ]
        return Starlette(
            routes=routes,
            middleware=[
                Middleware(CountingMiddleware, count=self.registry.metrics.request),
                Middleware(AccessMiddleware, policy=self._policy, sessions=self._sessions, logins=self._logins),
            ],
            exception_handlers={HttpError: on_http_error, HTTPException: on_framework_error},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        states = asyncio.ensure_future(self.registry.watch_states())
        try:
            yield
        finally:
            states.cancel()
            await self.end()

    async def end(self) -> None:
        """End all viewers, listeners and peers. May be called twice."""
        self.closing.set()
        self.registry.close()
        await self.peers.close()

    # The page

    async def _index(self, _request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def _docs(self, _request: Request) -> Response:
        return FileResponse(PAGE / "docs.html")

    async def _openapi(self, _request: Request) -> Response:
        return JSONResponse(description(self._limits))

    async def _login_page(self, _request: Request) -> Response:
        return login_page(200)

    async def _login(self, request: Request) -> Response:
        client = client_of(request)
        if self._logins.is_empty(client):
            raise HttpError(429, "too many wrong tokens; wait a minute", retry_after_s=60)
        body = await self._body(request, 4096)
        fields = parse_qs(body.decode("utf-8", "replace"))
        if not self._sessions.knows_token(fields.get("token", [""])[0].strip()):
            self._logins.allows(client)
            return login_page(401)
        return self._entered(request)

    async def _enter(self, request: Request) -> Response:
        client = client_of(request)
        if self._logins.is_empty(client):
            raise HttpError(429, "too many wrong links; wait a minute", retry_after_s=60)
        if not self._sessions.use_link(request.path_params["code"]):
            self._logins.allows(client)
            return RedirectResponse("/login", 303)
        return self._entered(request)

    async def _link(self, _request: Request) -> Response:
        return JSONResponse({"path": self._sessions.new_link()})

    def _entered(self, request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, self._sessions.begin(), max_age=SESSION_S, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    # The API

    async def _health(self, _request: Request) -> Response:
        broken = self.registry.engine.error is not None
        return JSONResponse({"status": "failed" if broken else "ok"}, 503 if broken else 200)

    async def _metrics(self, _request: Request) -> Response:
        metrics = self.registry.metrics
        return Response(metrics.text(), media_type=metrics.content_type)

    async def _cameras(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "server_time_s": time.monotonic(),
                "model": self._shown.model,
                "provider": self._shown.provider,
                "class_names": list(self._shown.class_names),
                "threshold": self.registry.controls.threshold,
                "needs_token": self._sessions.token is not None,
                "cameras": [camera_message(served.camera) for served in self.registry.listed],
            }
        )

    async def _camera(self, request: Request) -> Response:
        return JSONResponse(camera_message(self._served(request).camera))

    async def _snapshot(self, request: Request) -> Response:
        latest = self._served(request).streams.latest
        if latest is None:
            raise HttpError(503, "the camera has given no frame yet", retry_after_s=1)
        data = await asyncio.to_thread(jpeg, latest.image, SNAPSHOT_QUALITY)
        headers = {"X-Frame": str(latest.frame.index)}
        return Response(data, media_type="image/jpeg", headers=headers)

    async def _detect(self, request: Request) -> Response:
        self._count(request)
        return await self._detection(request)

    async def _video(self, request: Request) -> Response:
        return self._streaming(video_response(self._served(request)))

    async def _page_streams(self, request: Request) -> Response:
        names = dict.fromkeys(request.query_params.getlist("camera"))
        if not names:
            raise HttpError(422, "camera: expected the name of at least one camera")
        cameras = [self._named(name) for name in names]
        return self._streaming(page_response(cameras))

    def _streaming(self, answer: StreamingResponse) -> Response:
        if self._streams >= self._limits.viewers:
            raise HttpError(429, "too many viewers", retry_after_s=5)
        answer.body_iterator = self._counted(answer.body_iterator)
        return answer

    async def _counted(self, parts: Any) -> AsyncIterator[Any]:
        self._streams += 1
        try:
            async for part in parts:
                yield part
        finally:
            self._streams -= 1
            await parts.aclose()

    async def _events(self, request: Request) -> Response:
        if self._listeners >= self._limits.listeners:
            raise HttpError(429, "too many listeners", retry_after_s=5)
        camera = request.query_params.get("camera")
        if camera is not None:
            self._named(camera)
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isascii() and last.isdecimal() and len(last) < 18 else None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._event_lines(after, camera), media_type="text/event-stream", headers=headers)

    async def _event_lines(self, after: int | None, camera: str | None) -> AsyncIterator[str]:
        missed, events = self.registry.events.listen(after, camera)
        self._listeners += 1
        try:
            with events:
                yield "retry: 2000\n\n" + "".join(event.as_text() for event in missed)
                while not self.closing.is_set():
                    try:
                        event = await asyncio.wait_for(self._or_closing(events.get()), HEARTBEAT_S)
                    except TimeoutError:
                        yield ": still here\n\n"
                        continue
                    if event is not None and camera in (None, event.data["camera"]):
                        yield event.as_text()
        finally:
            self._listeners -= 1

    async def _or_closing(self, wanted: Any) -> Any:
        """What is awaited, or None once the server ends."""
        task, closing = asyncio.ensure_future(wanted), asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            closing.cancel()

    async def _view(self, request: Request) -> Response:
        self._count(request)
        served = self._served(request)
        answer = await self.peers.view(served, await self._offer(request))
        return JSONResponse({"type": answer.type, "sdp": answer.sdp})

    async def _receive(self, request: Request) -> Response:
        self._count(request)
        served, answer = await self.peers.receive(await self._offer(request))
        return JSONResponse({"type": answer.type, "sdp": answer.sdp, "camera": served.camera.name})

    # What they share

    async def _offer(self, request: Request) -> RTCSessionDescription:
        try:
            given = json.loads(await self._body(request, self._limits.offer_bytes))
        except (ValueError, RecursionError) as error:
            raise HttpError(422, "expected JSON") from error
        sdp = given.get("sdp") if isinstance(given, dict) else None
        if not isinstance(sdp, str) or given.get("type") != "offer":
            raise HttpError(422, 'expected {"type": "offer", "sdp": "…"}')
        return RTCSessionDescription(sdp, "offer")

    async def _body(self, request: Request, limit: int) -> bytes:
        try:
            return await read_body(request, limit)
        except TooLargeError as error:
            raise HttpError(413, f"the body exceeds {limit} bytes") from error

    def _count(self, request: Request) -> None:
        if not self._requests.allows(client_of(request)):
            wait_s = max(1, math.ceil(1 / self._limits.requests_per_s))
            raise HttpError(429, "too many requests", retry_after_s=wait_s)

    def _served(self, request: Request) -> Served:
        return self._named(request.path_params["name"])

    def _named(self, name: str) -> Served:
        served = self.registry.get(name)
        if served is None:
            raise HttpError(404, "there is no such camera")
        return served


class CountingMiddleware:
    """Counts the answers."""

    def __init__(self, app: ASGIApp, *, count: Callable[[str, int], None]) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope["method"], message["status"])
            await send(message)

        with suppress(ConnectionError):
            await self._app(scope, receive, counting)
