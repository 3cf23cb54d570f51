"""Real streams on 127.0.0.1, from senders that stall, fall silent, are cut and come back."""

import re
import socket
import threading
import time
from contextlib import ExitStack, closing

import av
import pytest
from fakes import WAIT_S, FakeDetector, RecordingSink, make_video, wait_until
from rtsp_sender import rtsp_server
from senders import (
    ffmpeg_sender,
    file_server,
    free_port,
    grey,
    grey_for_ever,
    jpeg_server,
    needs_ffmpeg,
    stamp_s,
    stamped_for_ever,
    stamped_picture,
)

from realtime.controls import Controls
from realtime.errors import SourceError
from realtime.pipeline import Pipeline
from realtime.sources.opening import CameraMode, open_live
from realtime.sources.stream import StreamOptions, StreamSource

PATIENT = StreamOptions(open_timeout_s=WAIT_S, read_timeout_s=WAIT_S)
QUICK = StreamOptions(open_timeout_s=WAIT_S, read_timeout_s=0.5)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr("realtime.sources.reconnecting.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("realtime.sources.reconnecting.CLOSE_TIMEOUT_S", 5.0)


each_protocol = pytest.mark.parametrize(
    ("scheme", "server"), [("http", jpeg_server), ("rtsp", rtsp_server)], ids=["http", "rtsp"]
)


def opened(url, options=PATIENT, reconnect=None):
    said = []
    source = open_live(url, mode=CameraMode(), stream=options, reconnect=reconnect, on_message=said.append)
    source.said = said
    return closing(source)


def level(frame):
    return round(float(frame.image.mean()))


def read_until(source, condition):
    """Read on until a frame is as wanted; the stream is live, so that there is no telling which one it will be."""
    deadline = time.monotonic() + WAIT_S
    while not condition(frame := source.read()):
        assert time.monotonic() < deadline
    return frame


def test_every_image_of_a_connection_comes_stamped_and_cannot_be_written_to():
    def play(viewer):
        for i in range(5):
            viewer.send(grey(40 * i))

    with jpeg_server(play) as host, closing(StreamSource(f"http://{host}/live", PATIENT)) as source:
        assert source.is_live
        assert source.size_wh == (64, 48)
        assert 1 <= source.frame_rate <= 1000
        before_s = time.monotonic()
        frames = [source.read() for _ in range(5)]
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert [level(frame) for frame in frames] == pytest.approx([0, 40, 80, 120, 160], abs=3)
        assert not frames[0].image.flags.writeable
        assert before_s <= frames[1].captured_at_s <= frames[4].captured_at_s <= time.monotonic()
        with pytest.raises(
            SourceError, match=r"^lost stream http://127\.0\.0\.1:\d+/live: the sender closed the connection$"
        ):
            source.read()


def test_a_stream_that_ends_with_other_data_has_ended():
    """FFmpeg calls it invalid, but it was a video up to there."""

    def play(viewer):
        viewer.play(iter([grey(50)] * 5))
        viewer.write_text("\r\nGoodbye\r\n")

    with (
        jpeg_server(play) as host,
        closing(StreamSource(f"http://{host}/live", PATIENT)) as source,
        pytest.raises(SourceError, match=r"the sender closed the connection$"),
    ):
        list(iter(source.read, None))


@each_protocol
def test_a_sender_is_cut_and_started_again_on_its_port(scheme, server):
    first = ExitStack()
    host = first.enter_context(server(lambda viewer: viewer.play(grey_for_ever(50))))
    with first, opened(f"{scheme}://{host}/live") as source:
        assert level(source.read()) == pytest.approx(50, abs=5)
        first.close()
        wait_until(lambda: any("refused" in line for line in source.said))
        assert source.status.startswith("reconnecting, ")
        with server(lambda viewer: viewer.play(grey_for_ever(150)), port=int(host.split(":")[1])):
            assert read_until(source, lambda frame: level(frame) > 100).index > 0
            assert source.status == ""
            assert source.said[-1] == "connected again"
            source.close()


@each_protocol
def test_a_sender_that_stalls_without_closing_is_left_and_tried_again(scheme, server):
    def play(viewer):
        if viewer.number == 0:
            viewer.play(iter([grey(50)] * 50))
            viewer.stall()
        viewer.play(grey_for_ever(150))

    with server(play) as host, opened(f"{scheme}://{host}/live", QUICK) as source:
        read_until(source, lambda frame: level(frame) > 100)
        assert re.search(r"lost stream .*: no answer for \d+\.\d s; reconnecting, 1st try", source.said[0])


def test_a_sender_that_sends_no_image_any_more_but_other_data_is_left():
    def play(viewer):
        viewer.send(grey(50))
        viewer.send(grey(50))
        viewer.play_rubbish()

    with (
        jpeg_server(play) as host,
        opened(f"http://{host}/live", QUICK, reconnect=False) as source,
        pytest.raises(SourceError, match="no frame that can be decoded arrived in time"),
    ):
        read_until(source, lambda _: False)


@each_protocol
def test_images_that_change_size_are_followed(scheme, server):
    def play(viewer):
        viewer.play(iter([grey(50)] * 50))
        viewer.play(grey_for_ever(50, size_wh=(96, 80)))

    with server(play) as host, opened(f"{scheme}://{host}/live") as source:
        assert source.size_wh == (64, 48)
        assert read_until(source, lambda frame: frame.image.shape == (80, 96, 3))
        assert source.size_wh == (96, 80)
        assert not source.said


@each_protocol
def test_a_slow_detector_sees_images_that_are_no_older_than_the_first(scheme, server):
    """The sender's images say when they were made, so that what lies in sockets and decoders counts as well."""
    inference_s, ages_s, never = 0.15, [], threading.Event()
    sink = RecordingSink(on_write=lambda frame: ages_s.append(time.monotonic() - stamp_s(frame.image)))
    with (
        server(lambda viewer: viewer.play(stamped_for_ever(), frames_per_s=50)) as host,
        opened(f"{scheme}://{host}/live") as source,
    ):
        detector = FakeDetector(lambda: never.wait(inference_s))
        stats = Pipeline(source, detector, [sink], Controls(0.5)).run(max_frames=25)
    assert stats.dropped > 25  # 7 images come in the time of an inference
    assert min(ages_s) > 0
    # The first ones waited while FFmpeg looked at the stream. Read one after another, the last would be 3 s old.
    assert max(ages_s[5:]) < inference_s + 1 / 50 + 1


def test_stamps_survive_compression():
    picture = stamped_picture()
    assert 0 <= time.monotonic() - stamp_s(picture) < WAIT_S


@needs_ffmpeg
def test_a_udp_sender_is_cut_and_another_of_another_size_takes_its_place():
    port = free_port(socket.SOCK_DGRAM)
    with ExitStack() as stack:
        with ffmpeg_sender(port, size_wh=(320, 240)):
            source = stack.enter_context(opened(f"udp://127.0.0.1:{port}", StreamOptions(read_timeout_s=1)))
            assert source.size_wh == (320, 240)
            assert source.read().image.shape == (240, 320, 3)
        wait_until(lambda: source.status.startswith("reconnecting"))
        with ffmpeg_sender(port, size_wh=(160, 128), colour="white"):
            frame = read_until(source, lambda frame: frame.image.shape == (128, 160, 3))
            assert level(frame) > 230
            assert source.status == ""
        assert "no answer for" in source.said[0]


@needs_ffmpeg
def test_a_udp_sender_that_changes_size_is_followed_without_a_break():
    port = free_port(socket.SOCK_DGRAM)
    with ExitStack() as stack:
        with ffmpeg_sender(port, size_wh=(320, 240)):
            source = stack.enter_context(opened(f"udp://127.0.0.1:{port}", PATIENT))
            assert source.read().image.shape == (240, 320, 3)
        with ffmpeg_sender(port, size_wh=(160, 128)):
            read_until(source, lambda frame: frame.image.shape == (128, 160, 3))
            source.close()
        assert not source.said


@pytest.mark.parametrize(
    ("path", "reason"), [("nix", "server returned 404 not found"), ("page.html", "the data is no video")]
)
@pytest.mark.parametrize("user", ["", "admin:hunter3@"])
def test_what_a_server_does_not_have_is_an_error_at_once(tmp_path, path, reason, user):
    (tmp_path / "page.html").write_text("<html>" + "hello " * 100_000)
    with file_server(tmp_path) as host, pytest.raises(SourceError) as raised, opened(f"http://{user}{host}/{path}"):
        pass
    shown = f"http://{'***@' if user else ''}{host}/{path}"
    assert str(raised.value) == f"cannot open stream {shown}: {reason}; check the address and that the sender runs"
    assert raised.value.__suppress_context__


def test_a_recording_is_read_at_its_own_speed_to_its_end(tmp_path):
    make_video(tmp_path / "clip.mkv", frames=12)
    with file_server(tmp_path) as host, closing(StreamSource(f"http://{host}/clip.mkv", PATIENT)) as source:
        frames = [source.read() for _ in range(12)]
        assert source.read() is None
    assert [level(frame) for frame in frames] == pytest.approx([20 * i for i in range(12)], abs=3)
    assert frames[-1].captured_at_s - frames[0].captured_at_s > 0.9 * 11 * 0.04
    with file_server(tmp_path) as host, opened(f"http://{host}/clip.mkv") as source:
        read_until(source, lambda frame: frame is None)
        assert not source.said


def test_a_stream_in_pieces_is_read_at_its_own_speed(tmp_path):
    """HLS as it is while it goes on: each piece comes at once, the list has no end."""
    make_video(tmp_path / "clip.mp4", frames=100)
    pieces = {"hls_time": "1", "hls_flags": "omit_endlist"}
    with (
        av.open(str(tmp_path / "clip.mp4")) as clip,
        av.open(str(tmp_path / "live.m3u8"), "w", format="hls", options=pieces) as playlist,
    ):
        stream = playlist.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                playlist.mux(packet)
    with file_server(tmp_path) as host, closing(StreamSource(f"http://{host}/live.m3u8", PATIENT)) as source:
        frames = [source.read() for _ in range(20)]
    assert frames[-1].captured_at_s - frames[0].captured_at_s > 0.9 * 19 * 0.04


@each_protocol
def test_the_right_password_opens_and_a_wrong_one_is_not_shown(scheme, server):
    with server(lambda viewer: viewer.play(grey_for_ever(50)), credentials="admin:hunter2") as host:
        with opened(f"{scheme}://admin:hunter2@{host}/live") as source:
            assert source.size_wh == (64, 48)
        with pytest.raises(
            SourceError, match=rf"^cannot open stream {scheme}://\*\*\*@{host}/live: the sender rejects"
        ):
            StreamSource(f"{scheme}://admin:hunter3@{host}/live", PATIENT)


@pytest.mark.parametrize("scheme", ["http", "rtsp", "udp"])
def test_a_sender_that_never_answers_is_left_after_the_time_limit(scheme):
    options = StreamOptions(open_timeout_s=0.3, read_timeout_s=WAIT_S)
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        if scheme == "udp":
            silent.close()  # to receive, the app needs the port itself
        else:
            silent.listen()
        with pytest.raises(
            SourceError, match=rf"^cannot open stream {scheme}://\*\*\*@127.0.0.1:\d+: no answer for \d"
        ):
            StreamSource(f"{scheme}://u:hunter2@127.0.0.1:{port}", options)


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_refused_connection_is_named(scheme):
    with pytest.raises(SourceError, match=r"cannot open stream \w+://127.0.0.1:\d+/x: connection refused"):
        StreamSource(f"{scheme}://127.0.0.1:{free_port()}/x", PATIENT)


@pytest.mark.parametrize(
    "url", ["http://no-such-host.invalid/x", "rtsp://no-such-host.invalid/x", "http://[::/x", "http://a..b/x"]
)
def test_an_unknown_host_is_named(url):
    with pytest.raises(SourceError, match=r"the host is unknown|invalid argument"):
        StreamSource(url, PATIENT)


def test_an_unknown_protocol_is_named():
    with pytest.raises(SourceError, match="cannot open stream nosuch://x: protocol not found"):
        StreamSource("nosuch://x", PATIENT)


def test_a_password_with_a_space_is_not_shown():
    with pytest.raises(SourceError, match=r"cannot open stream http://\*\*\*@127.0.0.1:\d+/a%20b: "):
        StreamSource(f"http://u:hun ter2@127.0.0.1:{free_port()}/a b", PATIENT)


def test_what_is_handed_to_ffmpeg(monkeypatch):
    handed = {}

    def refuse(url, **keywords):
        handed.update(keywords, url=url)
        raise OSError(5, "x")

    monkeypatch.setattr("realtime.sources.stream.av.open", refuse)
    options = StreamOptions(open_timeout_s=7, read_timeout_s=3, rtsp_transport="udp")
    with pytest.raises(SourceError):
        StreamSource("rtsp://u:p@host/x", options)
    assert handed["url"] == "rtsp://u:p@host/x"
    assert handed["timeout"] == (7, 3)
    assert handed["options"]["rtsp_transport"] == "udp"
    assert StreamOptions().for_ffmpeg()["rtsp_transport"] == "tcp"
