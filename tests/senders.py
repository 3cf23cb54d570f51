"""Senders of real streams on 127.0.0.1, which the tests start, stall, cut and start again."""

import base64
import os
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import WAIT_S

in_ci = os.environ.get("CI") == "true"
needs_ffmpeg = pytest.mark.skipif(not in_ci and shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")

BITS = 48
BLOCK_PX = 16
STAMPED_WH = (8 * BLOCK_PX, BITS // 8 * BLOCK_PX)


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stamped_picture() -> np.ndarray:
    """An image that says in black and white blocks when it was made (monotonic clock, the same in all processes)."""
    microseconds = int(1e6 * time.monotonic())
    bits = np.array([microseconds >> i & 1 for i in range(BITS)], np.uint8).reshape(-1, 8)
    return np.repeat(np.kron(255 * bits, np.ones((BLOCK_PX, BLOCK_PX), np.uint8))[..., None], 3, axis=2)


def stamp_s(image: np.ndarray) -> float:
    """When a stamped image was made."""
    means = image.mean(axis=2).reshape(-1, BLOCK_PX, 8, BLOCK_PX).mean(axis=(1, 3)).flatten()
    return sum(1 << i for i, mean in enumerate(means.tolist()) if mean > 127) / 1e6


class Viewer:
    """One connection to a server, which sends what the test says."""

    def __init__(self, number: int, ended: threading.Event) -> None:
        self.number = number
        """From 0, in the order of coming."""
        self._ended = ended

    def send(self, image: np.ndarray) -> None:
        """Send one image; raises ConnectionError once the viewer or the test is gone."""
        if self._ended.is_set():
            raise ConnectionAbortedError
        self.write(image)

    def write(self, image: np.ndarray) -> None:
        raise NotImplementedError

    def stall(self) -> None:
        """Send nothing, and leave the connection open until the test ends."""
        self._ended.wait(WAIT_S)

    def play(self, images: Iterator[np.ndarray], frames_per_s: float = 50) -> None:
        for image in images:
            self.send(image)
            self._ended.wait(1 / frames_per_s)


class JpegViewer(Viewer):
    """Gets motion JPEG over HTTP."""

    def __init__(self, number: int, ended: threading.Event, handler: BaseHTTPRequestHandler) -> None:
        super().__init__(number, ended)
        self._handler = handler

    def write(self, image: np.ndarray) -> None:
        self.write_part(cv2.imencode(".jpg", image)[1].tobytes())

    def write_part(self, data: bytes) -> None:
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        self._handler.wfile.write(head + data + b"\r\n")

    def write_text(self, text: str) -> None:
        """Something else than a part."""
        self._handler.wfile.write(text.encode())

    def play_rubbish(self) -> None:
        """Parts that are no images, for ever."""
        while not self._ended.wait(0.02):
            self.write_part(b"no image" * 10)


class HttpServer(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for them


@contextmanager
def jpeg_server(play: Callable[[JpegViewer], None], *, port: int = 0, credentials: str | None = None) -> Iterator[str]:
    """A camera as there are many: motion JPEG over HTTP. Gives host and port.

    Args:
        play: what each viewer gets; the connection is closed when it returns.
        port: 0 for any.
        credentials: "user:password" without which the answer is 401.
    """
    ended = threading.Event()
    viewers = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = "Basic " + base64.b64encode((credentials or "").encode()).decode()
            if credentials and self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(ConnectionError):
                play(JpegViewer(next(viewers), ended, self))

        def log_message(self, *_):
            pass

    with serving(HttpServer(("127.0.0.1", port), Handler), ended) as host:
        yield host


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serve the files of a folder over HTTP. Gives host and port."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, *_):
            pass

    with serving(HttpServer(("127.0.0.1", 0), Handler), threading.Event()) as host:
        yield host


@contextmanager
def serving(server: socketserver.BaseServer, ended: threading.Event) -> Iterator[str]:
    """Let a server work in a thread; at the end all connections are cut. Gives host and port."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="test-server")
    thread.start()
    try:
        yield "{}:{}".format(*server.server_address)
    finally:
        ended.set()
        server.shutdown()
        thread.join(WAIT_S)
        server.server_close()


def grey(level: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


def grey_for_ever(level: int, size_wh: tuple[int, int] = (64, 48)) -> Iterator[np.ndarray]:
    while True:
        yield grey(level, size_wh)


def stamped_for_ever() -> Iterator[np.ndarray]:
    while True:
        yield stamped_picture()


@contextmanager
def ffmpeg_sender(port: int, *, size_wh: tuple[int, int] = (320, 240), colour: str = "gray") -> Iterator[None]:
    """The program ffmpeg, sending H.264 in MPEG-TS over UDP in real time; cut off at the end, without a farewell."""
    image = f"color={colour}:size={size_wh[0]}x{size_wh[1]}:rate=25"
    process = subprocess.Popen(
        ["ffmpeg", "-loglevel", "error", "-re", "-f", "lavfi", "-i", image, "-t", "120",
         "-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-threads", "1", "-f", "mpegts",
         f"udp://127.0.0.1:{port}?pkt_size=1316"],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait(WAIT_S)
