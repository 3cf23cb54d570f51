"""A small RTSP server: H.264 interleaved with the requests on one TCP connection (RFC 2326, RFC 6184)."""

import base64
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import av
import numpy as np
from senders import Viewer, serving

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track0\r\n"
)


class RtspViewer(Viewer):
    """Gets H.264 in RTP, one packet for each NAL unit."""

    def __init__(self, number: int, ended: threading.Event, handler: socketserver.StreamRequestHandler) -> None:
        super().__init__(number, ended)
        self._handler = handler
        self._encoder: av.VideoCodecContext | None = None
        self._sequence = self._frames = 0

    def write(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        if self._encoder is None or (self._encoder.width, self._encoder.height) != (width, height):
            self._encoder = av.CodecContext.create("libx264", "w")
            self._encoder.width, self._encoder.height, self._encoder.pix_fmt = width, height, "yuv420p"
            self._encoder.framerate, self._encoder.gop_size = 50, 10
            self._encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
        self._frames += 1
        for packet in self._encoder.encode(av.VideoFrame.from_ndarray(image, format="bgr24")):
            units = [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")[1:]]
            for unit in units:
                self._write_unit(unit, is_last=unit is units[-1])

    def _write_unit(self, unit: bytes, *, is_last: bool) -> None:
        self._sequence += 1
        time_90khz = self._frames * 1800
        rtp = struct.pack(">BBHII", 0x80, 96 | is_last << 7, self._sequence & 0xFFFF, time_90khz, 1) + unit
        self._handler.wfile.write(b"$\0" + struct.pack(">H", len(rtp)) + rtp)


@contextmanager
def rtsp_server(  # noqa: C901 - the branches of its handlers count as its own
    play: Callable[[RtspViewer], None], *, port: int = 0, credentials: str | None = None
) -> Iterator[str]:
    """Serve what ``play`` sends to each viewer. Gives host and port."""
    ended = threading.Event()
    viewers = iter(range(10**6))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with suppress(ConnectionError):
                while (request := self._request()) is not None:
                    self._answer(*request)

        def _request(self):
            lines = []
            while (line := self.rfile.readline().decode().strip()) or not lines:
                if not line:
                    return None
                lines.append(line)
            headers = dict(line.lower().split(": ", 1) for line in lines[1:])
            return lines[0].split()[0], headers, lines

        def _answer(self, method, headers, lines):
            wanted = "Authorization: Basic " + base64.b64encode((credentials or "").encode()).decode()
            if credentials and method != "OPTIONS" and wanted not in lines:
                return self._reply(headers, "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"')
            if method == "SETUP" and "rtp/avp/tcp" not in headers["transport"]:
                return self._reply(headers, "461 Unsupported transport")
            extra = {
                "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN",
                "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}",
                "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1",
            }.get(method, "Session: 1")
            self._reply(headers, "200 OK", extra, SDP if method == "DESCRIBE" else "")
            if method == "PLAY":
                play(RtspViewer(next(viewers), ended, self))
                raise ConnectionAbortedError
            return None

        def _reply(self, headers, status, extra="X-Test: 1", body=""):
            self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n\r\n{body}".encode())

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with serving(Server(("127.0.0.1", port), Handler), ended) as host:
        yield host
