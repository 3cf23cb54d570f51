"""Video for many viewers: encoded once, never slowed by one of them, gone when they go."""

import asyncio
import http.client
import json
import socket
import threading
import time
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path

import av
import numpy as np
import pytest
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpHeaderExtensionParameters,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.codecs import HEADER_EXTENSIONS
from aiortc.rtp import RtpPacket
from fakes import WAIT_S, thread_names, wait_until
from moving_square import SIZE_WH, SquareSource
from served import serving

from realtime.serve.bridge import Feed
from realtime.serve.encoders import MAX_WH, VideoFormat, even, fitted
from realtime.serve.limits import Limits
from realtime.serve.playout_delay import URI

VIDEO = "/cameras/square/video.mjpg"


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as running:
        wait_until(lambda: running.server.registry.get("square").streams.latest)
        yield running


def streams_of(served, name="square"):
    return served.server.registry.get(name).streams


def watching(served, stack, path=VIDEO):
    """A viewer that has had its first bytes."""
    connection = stack.enter_context(closing(http.client.HTTPConnection(served.host, timeout=WAIT_S)))
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read(10)
    return answer


def test_twenty_viewers_cost_one_encoding(served):
    streams = streams_of(served)
    with ExitStack() as stack:
        for _ in range(20):
            watching(served, stack)
        assert streams.viewers()[VideoFormat.JPEG] == 20
        encoded, frames = streams.encoded()[VideoFormat.JPEG], served.engine.camera("square").figures.now().frames
        wait_until(lambda: served.engine.camera("square").figures.now().frames >= frames + 15)
        assert 10 <= streams.encoded()[VideoFormat.JPEG] - encoded <= 18
    wait_until(lambda: not any(streams.viewers().values()))
    wait_until(lambda: "encode" not in thread_names())


def test_a_viewer_that_does_not_read_slows_nobody(tmp_path):
    noisy = SquareSource(rate=60)
    with serving(tmp_path, {"square": noisy}) as served, ExitStack() as stack:
        slow = stack.enter_context(socket.create_connection(tuple(served.host.split(":"))))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET {VIDEO} HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode())
        feed = streams_of(served)._streams[VideoFormat.JPEG].feed
        wait_until(lambda: any(one.dropped > 20 for one in feed._subscriptions))  # what it cannot take is dropped
        quick = watching(served, stack, "/streams?camera=square")
        ages = []
        while len(ages) < 30:
            line = quick.readline()
            if line.startswith(b"{"):
                ages.append(time.monotonic() - json.loads(line)["captured_at_s"])
        assert np.median(ages) < 0.2
        assert served.engine.camera("square").figures.now().frames_per_s > 20


class Viewer:
    """A browser's part of WebRTC."""

    def __init__(self, served, codec="video/H264", camera="square"):
        self.served, self.camera = served, camera
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.messages = {}
        self.origin = None
        self.track = None
        transceiver = self.peer.addTransceiver("video", direction="recvonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([one for one in codecs if one.mimeType == codec])
        channel = self.peer.createDataChannel("results")
        channel.on("message", self.receive)
        self.peer.on("track", lambda track: setattr(self, "track", track))

    def receive(self, text):
        message = json.loads(text)
        if "origin" in message:
            self.origin = message["origin"]
        else:
            self.messages[message["timestamp"]] = message

    async def __aenter__(self):
        await self.peer.setLocalDescription(await self.peer.createOffer())
        answer = await post(self.served, f"/cameras/{self.camera}/webrtc", self.peer.localDescription)
        assert answer.status == 200, answer.body
        assert " 127.0.0.1 " in answer.json["sdp"]
        candidates = [line for line in answer.json["sdp"].splitlines() if line.startswith("a=candidate")]
        assert all(" 127.0.0.1 " in line for line in candidates)
        await self.peer.setRemoteDescription(RTCSessionDescription(answer.json["sdp"], "answer"))
        return self

    async def __aexit__(self, *_):
        await self.peer.close()

    async def message(self, frame):
        """The boxes of a frame, found as a browser finds them: by the timestamp of RTP. None if they do not come."""
        first = self.peer.getReceivers()[0]._RTCRtpReceiver__timestamp_mapper._origin  # from which on aiortc counts
        for _ in range(100):
            if self.origin is not None:
                message = self.messages.get((first + frame.pts - self.origin) % 2**32)
                if message:
                    return message
            await asyncio.sleep(0.02)
        return None

    async def frame(self):
        return await asyncio.wait_for(self.track.recv(), WAIT_S)


async def post(served, path, description):
    body = json.dumps({"type": description.type, "sdp": description.sdp}).encode()
    return await asyncio.to_thread(served.ask, path, "POST", body)


def bright(frame):
    """x of the left and right end of what is bright in a frame."""
    columns = np.flatnonzero(frame.to_ndarray(format="gray").max(axis=0) > 160)
    return columns[0], columns[-1] + 1


@pytest.mark.parametrize("codec", ["video/H264", "video/VP8"])
def test_each_frame_of_webrtc_has_the_boxes_that_belong_to_it(served, codec):
    async def watch():
        async with Viewer(served, codec) as viewer:
            checked = 0
            while checked < 12:
                frame = await viewer.frame()
                message = await viewer.message(frame)
                x1, _, x2, _ = message["detections"][0]["box"]
                assert bright(frame) == pytest.approx((x1, x2), abs=3)
                checked += 1
            assert 0 <= viewer.origin < 2**32
            return frame.width, frame.height

    assert asyncio.run(watch()) == SIZE_WH


def test_every_packet_asks_for_no_delay_if_the_browser_knows_what_that_is(served, monkeypatch):
    offered = [*HEADER_EXTENSIONS["video"], RTCRtpHeaderExtensionParameters(id=5, uri=URI)]
    packets = []

    def parse(data, extensions):
        packet = parse_packet(data, extensions)
        packets.append(data)
        return packet

    parse_packet = RtpPacket.parse
    monkeypatch.setattr(RtpPacket, "parse", parse)

    async def watch(extensions):
        packets.clear()
        monkeypatch.setitem(HEADER_EXTENSIONS, "video", extensions)
        async with Viewer(served) as viewer:
            for _ in range(3):
                await viewer.frame()
            assert served.server.registry.get("square").streams.viewers()[VideoFormat.H264] == 1
        return [len(packet) > 20 and bytes([0x52, 0, 0, 0]) in packet[12:40] for packet in packets]

    assert all(asyncio.run(watch(offered)))
    assert not any(asyncio.run(watch(offered[:-1])))


def test_viewers_of_webrtc_share_one_encoder_and_a_late_one_starts_at_once(served):
    async def watch():
        streams = streams_of(served)
        async with AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(Viewer(served)) for _ in range(4)]
            for viewer in viewers:
                await viewer.frame()
            assert streams.viewers()[VideoFormat.H264] == 4
            encoded, frames = streams.encoded()[VideoFormat.H264], served.engine.camera("square").figures.now().frames
            for _ in range(15):
                await viewers[0].frame()
            frames = served.engine.camera("square").figures.now().frames - frames
            assert streams.encoded()[VideoFormat.H264] - encoded <= frames + 2
            started_s = time.monotonic()
            await (await stack.enter_async_context(Viewer(served))).frame()
            assert time.monotonic() - started_s < 3

    asyncio.run(watch())
    wait_until(lambda: not any(streams_of(served).viewers().values()))


def open_sockets():
    return sum(path.is_socket() for path in Path("/proc/self/fd").iterdir())


def server_tasks(served):
    async def count():
        return len(asyncio.all_tasks())

    loop = served.server._started.result()[1]
    return asyncio.run_coroutine_threadsafe(count(), loop).result(WAIT_S)


@pytest.mark.slow
def test_two_hundred_viewers_come_and_go_and_leave_nothing(served):
    async def visit():
        async with Viewer(served) as viewer:
            await viewer.frame()

    asyncio.run(visit())  # what is made once is there now
    wait_until(lambda: len(served.server.app.peers) == 0 and "encode" not in thread_names())
    wait_until(lambda: server_tasks(served) <= 6)
    before = threading.active_count(), open_sockets(), server_tasks(served)
    for number in range(190):
        with ExitStack() as stack:
            watching(served, stack, VIDEO if number % 2 else "/events")
    for _ in range(10):
        asyncio.run(visit())
    wait_until(lambda: len(served.server.app.peers) == 0 and not any(streams_of(served).viewers().values()))
    wait_until(lambda: open_sockets() <= before[1])
    wait_until(lambda: threading.active_count() <= before[0] + 1)  # the pool of the event loop may grow by one
    wait_until(lambda: server_tasks(served) <= before[2])


class SquareTrack(VideoStreamTrack):
    """A browser's webcam."""

    def __init__(self):
        super().__init__()
        self.source = SquareSource(rate=20)

    async def recv(self):
        frame = await asyncio.to_thread(self.source.read)
        sent = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="bgr24")
        sent.pts, sent.time_base = await self.next_timestamp()
        return sent


def test_a_browser_can_be_a_camera_that_only_it_sees(served):
    async def send():
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.addTransceiver(SquareTrack(), direction="sendonly")
        await peer.setLocalDescription(await peer.createOffer())
        answer = await post(served, "/guests", peer.localDescription)
        assert answer.status == 200, answer.body
        name = answer.json["camera"]
        assert len(name) > 20
        await peer.setRemoteDescription(RTCSessionDescription(answer.json["sdp"], "answer"))
        async with Viewer(served, camera=name) as viewer:
            frame = await viewer.frame()
            assert (frame.width, frame.height) == SIZE_WH
            await asyncio.to_thread(wait_until, lambda: viewer.messages)
            assert list(viewer.messages.values())[-1]["detections"][0]["label"] == "face"
        assert [one["name"] for one in served.ask("/cameras").json["cameras"]] == ["square"]
        assert name.encode() not in served.ask("/metrics").body
        await peer.close()
        return name

    name = asyncio.run(send())
    wait_until(lambda: served.engine.camera(name) is None)
    assert served.ask(f"/cameras/{name}").status == 404


SOUND = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"


@pytest.mark.parametrize("path", ["/cameras/square/webrtc", "/guests"])
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"type": "answer", "sdp": ""}', b'{"type": "offer", "sdp": 7}', b'{"type": "offer"}',
     b'{"type": "offer", "sdp": ""}',
     b'{"type": "offer", "sdp": "a=rtpmap:96 VP8/90000"}', json.dumps({"type": "offer", "sdp": SOUND}).encode(),
     b"[" * 50_000, b"\xff\xfe"],
)  # fmt: skip
def test_an_offer_that_is_none_is_refused(served, path, body):
    answer = served.ask(path, "POST", body)
    assert answer.status == 422, answer.body
    assert len(served.server.app.peers) == 0
    assert served.server.registry.guests == 0
    assert not any(streams_of(served).viewers().values())


def test_an_offer_that_is_too_long_is_refused(served):
    assert served.ask("/guests", "POST", bytes(70_000)).status == 413


def test_peers_and_guests_are_limited(tmp_path):
    with serving(tmp_path, limits=Limits(viewers=1, guests=0)) as served:
        wait_until(lambda: streams_of(served).latest)

        async def watch():
            async with Viewer(served) as viewer:
                await viewer.frame()
                second = Viewer(served)
                await second.peer.setLocalDescription(await second.peer.createOffer())
                refused = [
                    (await post(served, path, second.peer.localDescription)).status
                    for path in ("/cameras/square/webrtc", "/guests")
                ]
                await second.peer.close()
                return refused

        assert asyncio.run(watch()) == [429, 429]


def test_a_peer_that_never_connects_is_given_up(served, monkeypatch):
    monkeypatch.setattr("realtime.serve.webrtc.CONNECT_S", 0.2)

    async def offer():
        viewer = Viewer(served)
        await viewer.peer.setLocalDescription(await viewer.peer.createOffer())
        assert (await post(served, "/cameras/square/webrtc", viewer.peer.localDescription)).status == 200
        await viewer.peer.close()

    asyncio.run(offer())
    wait_until(lambda: len(served.server.app.peers) == 0)
    wait_until(lambda: not any(streams_of(served).viewers().values()))


def test_the_end_comes_soon_with_viewers_attached(tmp_path):
    with serving(tmp_path) as served, ExitStack() as stack:
        for path in (VIDEO, "/events", "/streams?camera=square"):
            watching(served, stack, path)
        started_s = time.monotonic()
        served.stop()
        assert time.monotonic() - started_s < 2


def test_what_a_late_subscriber_lost_begins_with_a_key_again():
    class Item:
        def __init__(self, name, *, is_key=False):
            self.name, self.is_key = name, is_key

    async def follow():
        gaps = []
        feed = Feed(asyncio.get_running_loop(), on_gap=lambda: gaps.append(1))
        subscription = feed.subscribe(capacity=2)
        for name in ("p0", "K1", "p2", "p3", "p4", "K5", "p6"):
            feed.publish(Item(name, is_key=name[0] == "K"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen = [(await subscription.get()).name for _ in range(2)]
        subscription.close()
        assert await subscription.get() is None
        return seen, len(gaps), subscription.dropped

    assert asyncio.run(follow()) == (["K5", "p6"], 3, 5)


def test_a_closed_loop_is_no_error_for_who_publishes():
    async def make():
        return Feed(asyncio.get_running_loop())

    asyncio.run(make()).publish(type("Item", (), {"is_key": True})())


@pytest.mark.parametrize(
    ("size_wh", "fits"), [((3840, 2160), (1920, 1080)), ((641, 361), (641, 361)), ((4, 4000), (2, 1080))]
)
def test_frames_are_made_smaller_for_video(size_wh, fits):
    image = fitted(np.zeros((size_wh[1], size_wh[0], 3), np.uint8))
    assert (image.shape[1], image.shape[0]) == fits
    assert max(image.shape) <= max(MAX_WH)
    assert all(side % 2 == 0 for side in even(image).shape[:2])
