"""A server with cameras of moving squares, in this process, and requests to it."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fakes import WAIT_S
from moving_square import SquareSource, square_model

from realtime.cameras.camera import Looking
from realtime.cameras.engine import Engine
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.serve.app import Shown
from realtime.serve.limits import Limits
from realtime.serve.server import ServeOptions, Server
from realtime.stills import detect_still

TOKEN = "a-token-of-the-tests"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A running server."""

    def __init__(self, server: Server, engine: Engine, sources: dict[str, SquareSource]) -> None:
        self.server = server
        self.engine = engine
        self.sources = sources
        self.url = server.address
        self.host = server.address.removeprefix("http://")

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; header names in lower case."""
        with closing(http.client.HTTPConnection(self.host, timeout=WAIT_S)) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def stop(self) -> None:
        self.server.stop()
        self.engine.close()


@contextmanager
def serving(
    folder: Path,
    sources: dict[str, SquareSource] | None = None,
    *,
    limits: Limits | None = None,
    model: Path | None = None,
    **options: Any,
) -> Iterator[Served]:
    """Serve one camera, ``square``, or those given."""
    path = model or square_model(folder / "square.onnx")
    engine = Engine(lambda: OnnxDetector(path, provider=Provider.CPU))
    detector = engine.start()
    assert isinstance(detector, OnnxDetector)
    chosen = ServeOptions(port=0, threshold=detector.metadata.threshold, looking=Looking(raw=True))
    chosen = replace(chosen, limits=limits or Limits(), **options)
    shown = Shown(model="square", provider="cpu", class_names=detector.metadata.class_names)
    try:
        server = Server(engine, partial(detect_still, detector), shown, chosen)
        sources = {"square": SquareSource()} if sources is None else sources
        served = Served(server, engine, sources)
        try:
            server.start(list(sources.items()))
            yield served
        finally:
            server.stop()
    finally:
        engine.close()
