"""Video over WebRTC: viewers of a camera, and browsers that send their own."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from realtime.ffmpeg import av
from realtime.serve.encoders import Encoded, VideoFormat
from realtime.serve.errors import HttpError
from realtime.serve.guest import GuestSource
from realtime.serve.ice import without_mdns
from realtime.serve.messages import CLOCK_RATE, as_json
from realtime.serve.playout_delay import show_at_once
from realtime.serve.registry import Registry, Served
from realtime.serve.streams import Watching

RESULTS_CHANNEL = "results"
MAX_BUFFERED = 256 * 1024
"""Bytes of results that may wait for a slow viewer."""
MAX_EARLY = 60
"""Messages that are kept until the browser's data channel is open."""
SILENT_S = 8.0
"""A page that has said nothing for this time is gone."""
CONNECT_S = 20.0
"""A peer that is not connected by then is given up."""
_H264 = re.compile(r"^a=rtpmap:(\d+) H264/90000", re.MULTILINE)
_VP8 = re.compile(r"^a=rtpmap:\d+ VP8/90000", re.MULTILINE)


class CameraTrack(MediaStreamTrack):
    """Frames that were encoded for all viewers; each one's boxes are sent before it."""

    kind = "video"

    def __init__(self, watching: Watching, send: Callable[[Encoded], None], note_origin: Callable[[int], None]) -> None:
        """``note_origin`` is called with the timestamp of each frame that was sent."""
        super().__init__()
        self._watching = watching
        self._send = send
        self._note_origin = note_origin
        self._last: int | None = None

    async def recv(self) -> "av.Packet[Any]":
        """The next frame.

        Raises:
            MediaStreamError: the camera or the viewer is gone.
        """
        if self._last is not None:
            self._note_origin(self._last)
        encoded = await self._watching.subscription.get()
        if encoded is None:
            self.stop()
            raise MediaStreamError
        self._send(encoded)
        await asyncio.sleep(0)  # lets the boxes go first: the browser shows a frame as soon as it is there
        packet: av.Packet[Any] = av.Packet(encoded.data)
        packet.pts, packet.time_base = encoded.timestamp, Fraction(1, CLOCK_RATE)
        self._last = encoded.timestamp
        return packet

    def stop(self) -> None:
        """Watch no more."""
        super().stop()
        self._watching.close()


@dataclass(slots=True)
class _Results:
    """The data channel of one viewer."""

    origin: int | None = None
    _channel: RTCDataChannel | None = None
    _early: deque[str] = field(default_factory=partial(deque, maxlen=MAX_EARLY))
    """Sent before the channel was open: video comes first."""

    def open(self, channel: RTCDataChannel) -> None:
        """The browser's channel is here."""
        self._channel = channel
        while self._early:
            self._put(self._early.popleft())

    def send(self, encoded: Encoded) -> None:
        """The boxes of a frame that is about to be sent."""
        self._put(encoded.message)

    def note_origin(self, sender: RTCRtpSender, timestamp: int) -> None:
        """Say once by how much the timestamps of RTP differ from those of the results: aiortc adds a random number.

        Browsers tell a frame's RTP timestamp, by which its boxes are found. aiortc has no public name for the last one
        that it sent; without it, the page draws the newest boxes.
        """
        sent = getattr(sender, "_RTCRtpSender__rtp_timestamp", None)
        if sent is None or not sent:
            return
        origin = (sent - timestamp) % 2**32
        if origin != self.origin and self._put(as_json({"origin": origin})):
            self.origin = origin

    def _put(self, message: str) -> bool:
        channel = self._channel
        if channel is None:
            self._early.append(message)
            return True
        if channel.readyState != "open" or channel.bufferedAmount > MAX_BUFFERED:
            return False
        channel.send(message)
        return True


class _Heartbeat:
    """Ends the connection of a page that said that it is there, and then nothing more: its tab was closed.

    ICE alone notices after half a minute. Programs that never say so are left alone.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._timer: asyncio.TimerHandle | None = None

    def beat(self, _message: object) -> None:
        """The page is there."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(SILENT_S, self._end)

    def check(self, state: str) -> None:
        """Stop with the connection."""
        if state in {"closed", "failed"}:
            self.stop()

    def stop(self) -> None:
        """Wait for nothing more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None


class Peers:
    """All connections. Used in the event loop."""

    def __init__(self, registry: Registry, max_viewers: int, max_guests: int) -> None:
        self._registry = registry
        self._max_viewers = max_viewers
        self._max_guests = max_guests
        self._connections: set[RTCPeerConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._connections)

    async def view(self, served: Served, offer: RTCSessionDescription) -> RTCSessionDescription:
        """Show a camera to a browser that offers to receive one video.

        Raises:
            HttpError: too many watch already, or the offer cannot be served.
        """
        if len(self._connections) >= self._max_viewers + self._max_guests:
            raise HttpError(429, "too many viewers", retry_after_s=5)
        video_format = _format_of(offer.sdp)
        results = _Results()
        connection = self._open()

        @connection.on("datachannel")
        def on_channel(channel: RTCDataChannel) -> None:
            if channel.label == RESULTS_CHANNEL:
                results.open(channel)
                alive = _Heartbeat(lambda: self._start(self._close(connection)))
                channel.on("message", alive.beat)
                channel.on("close", alive.stop)
                connection.on("connectionstatechange", lambda: alive.check(connection.connectionState))

        watching = served.streams.watch(video_format)
        try:
            track = CameraTrack(watching, results.send, lambda timestamp: results.note_origin(sender, timestamp))
            transceiver = connection.addTransceiver(track, direction="sendonly")
            sender = transceiver.sender
            # aiortc encodes for each viewer; packets that are encoded already are sent as they are, and then a request
            # for a key frame has to reach the encoder that all viewers share.
            sender._send_keyframe = watching.request_key  # type: ignore[method-assign]  # noqa: SLF001
            _prefer(transceiver, video_format)
            await _receive_offer(connection, offer)
            _check_video(connection)
            show_at_once(transceiver, offer.sdp)
            return await _answer(connection)
        except BaseException:
            watching.close()
            await self._close(connection)
            raise

    async def receive(self, offer: RTCSessionDescription) -> tuple[Served, RTCSessionDescription]:
        """Take the camera of a browser as one of ours, for as long as it is connected.

        Raises:
            HttpError: too many are here already, or the offer cannot be served.
        """
        if self._registry.guests >= self._max_guests:
            raise HttpError(429, "too many browsers send their camera already", retry_after_s=5)
        source = GuestSource()
        served = self._registry.add_guest(source)
        connection = self._open()
        try:

            @connection.on("track")
            def on_track(track: MediaStreamTrack) -> None:
                if track.kind == "video":
                    self._start(source.feed(track))

            @connection.on("connectionstatechange")
            async def on_state() -> None:
                if connection.connectionState in {"closed", "failed"}:
                    await self._registry.remove(served.camera.name)

            await _receive_offer(connection, offer)
            _check_video(connection)
            return served, await _answer(connection)
        except BaseException:
            await self._close(connection)
            await self._registry.remove(served.camera.name)
            raise

    async def close(self) -> None:
        """End all connections."""
        connections = list(self._connections)
        await asyncio.gather(*(self._close(connection) for connection in connections), return_exceptions=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(self) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # without it, Google's would be asked
        self._connections.add(connection)

        @connection.on("connectionstatechange")
        async def on_state() -> None:
            if connection.connectionState in {"failed", "closed", "disconnected"}:
                await self._close(connection)

        self._start(self._give_up(connection))
        return connection

    async def _give_up(self, connection: RTCPeerConnection) -> None:
        await asyncio.sleep(CONNECT_S)
        if connection.connectionState != "connected":
            await self._close(connection)

    async def _close(self, connection: RTCPeerConnection) -> None:
        self._connections.discard(connection)
        for sender in connection.getSenders():
            if sender.track is not None:
                sender.track.stop()
        await connection.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _format_of(sdp: str) -> VideoFormat:
    for payload in _H264.findall(sdp):
        parameters = re.search(rf"^a=fmtp:{payload} (.*)$", sdp, re.MULTILINE)
        text = parameters[1].lower() if parameters else ""
        if "packetization-mode=1" in text and re.search(r"profile-level-id=(42e0|4200)", text):
            return VideoFormat.H264
    if _VP8.search(sdp):
        return VideoFormat.VP8
    raise HttpError(422, "the offer has neither H.264 (baseline) nor VP8")


async def _receive_offer(connection: RTCPeerConnection, offer: RTCSessionDescription) -> None:
    try:
        await connection.setRemoteDescription(RTCSessionDescription(without_mdns(offer.sdp), offer.type))
    except Exception as error:  # aiortc's parser raises whatever the text leads to
        raise HttpError(422, "the offer cannot be understood") from error


def _check_video(connection: RTCPeerConnection) -> None:
    transceivers = connection.getTransceivers()
    if len(transceivers) != 1 or transceivers[0].kind != "video" or transceivers[0].mid is None:
        raise HttpError(422, "expected an offer with one video and no sound")


def _prefer(transceiver: RTCRtpTransceiver, video_format: VideoFormat) -> None:
    mime = f"video/{video_format}"
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([one for one in codecs if one.mimeType.lower() in {mime, "video/rtx"}])


async def _answer(connection: RTCPeerConnection) -> RTCSessionDescription:
    try:
        await connection.setLocalDescription(await connection.createAnswer())
    except Exception as error:
        raise HttpError(422, "the offer cannot be answered") from error
    return connection.localDescription
