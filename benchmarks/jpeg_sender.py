"""A camera on the network as there are many: motion JPEG over HTTP, from images in memory."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


@contextmanager
def jpeg_sender(cameras: Mapping[str, Sequence[np.ndarray]], frames_per_s: float) -> Iterator[str]:
    """The address of a server that sends images, uint8 (H,W,3) BGR, over and over, each camera's at its name."""
    parts = {name: [_part(image) for image in images] for name, images in cameras.items()}
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for part in itertools.cycle(parts[self.path.strip("/")]):
                    self.wfile.write(part)
                    if ended.wait(1 / frames_per_s):
                        return
            except ConnectionError:
                return

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _part(image: np.ndarray) -> bytes:
    data = cv2.imencode(".jpg", image)[1].tobytes()
    return f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data + b"\r\n"
