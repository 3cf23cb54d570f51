"""The HTTP API of ``realtime serve``."""

import http.client
import json
import threading
from contextlib import closing, contextmanager

import cv2
import numpy as np
import pytest
from fakes import WAIT_S, wait_until
from moving_square import SIZE_WH, SquareSource, square_at
from served import serving

from realtime.serve.limits import Limits

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    sources = {"square": SquareSource(), "other": SquareSource(ground=90)}
    with serving(tmp_path_factory.mktemp("serve"), sources) as running:
        wait_until(lambda: all(one.streams.latest for one in running.server.registry.listed))
        yield running


def photo(suffix=".jpg", size_wh=SIZE_WH, at=(100, 80, 160, 140)):
    image = np.full((size_wh[1], size_wh[0], 3), 40, np.uint8)
    x1, y1, x2, y2 = at
    image[y1:y2, x1:x2] = 255
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_an_image_that_is_sent_gives_the_fields_of_a_json_line(served, suffix):
    answer = served.ask("/detect", "POST", photo(suffix))
    assert answer.status == 200, answer.body
    assert list(answer.json) == ["frame", "pts_s", "detections", "faces"]
    (found,) = answer.json["detections"]
    assert found["label"] == "face"
    assert found["box"] == pytest.approx([100, 80, 160, 140], abs=2)
    assert [face["id"] for face in answer.json["faces"]] == [1]


def test_the_threshold_of_a_request_counts(served):
    labels = [one["label"] for one in served.ask("/detect?threshold=0.2", "POST", photo()).json["detections"]]
    assert labels == ["face", "eye"]
    assert served.ask("/detect?threshold=0.95", "POST", photo()).json["detections"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/detect", b"", 415, "expected a JPEG, PNG or WebP image"),
        ("/detect", b"not an image", 415, "expected a JPEG, PNG or WebP image"),
        ("/detect", b"BM" + bytes(100), 415, "expected a JPEG, PNG or WebP image"),
        ("/detect", photo()[:-400], 422, "the image is cut short"),
        ("/detect", photo(".png")[:60], 422, "the image is cut short"),
        ("/detect", photo(".webp")[:40], 422, "the image is damaged"),
        ("/detect?threshold=2", photo(), 422, "threshold: expected a number from 0 to 1"),
        ("/detect?threshold=nan", photo(), 422, "threshold: expected a number from 0 to 1"),
        ("/detect?threshold=", photo(), 422, "threshold: expected a number from 0 to 1"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(served, path, body, status, message):
    answer = served.ask(path, "POST", body)
    assert answer.status == status
    assert message in answer.json["error"]


def bomb(kind):
    """A small file that says it holds an image of 30000x30000."""
    if kind == "png":
        data = bytearray(photo(".png"))
        data[16:24] = (30000).to_bytes(4, "big") * 2
        return bytes(data)
    data = photo()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + (30000).to_bytes(2, "big") * 2 + data[at + 4 :]


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_small_file_that_holds_a_huge_image_is_not_decoded(served, kind):
    answer = served.ask("/detect", "POST", bomb(kind))
    assert answer.status == 413
    assert "50000000 pixels" in answer.json["error"]


def test_a_large_upload_is_refused_before_it_is_read(tmp_path):
    with serving(tmp_path, {}, limits=Limits(upload_bytes=1000)) as small:
        with closing(http.client.HTTPConnection(small.host, timeout=WAIT_S)) as connection:
            connection.putrequest("POST", "/detect")
            connection.putheader("Content-Length", str(10**12))
            connection.endheaders()
            assert connection.getresponse().status == 413
        assert small.ask("/detect", "POST", iter([bytes(600)] * 3)).status == 413  # in chunks, without a length


def test_an_image_that_does_not_arrive_is_given_up_and_lets_others_pass(tmp_path):
    with (
        serving(tmp_path, {}, limits=Limits(uploads=1, upload_s=0.3)) as busy,
        closing(http.client.HTTPConnection(busy.host, timeout=WAIT_S)) as slow,
    ):
        slow.putrequest("POST", "/detect")
        slow.putheader("Content-Length", "1000")
        slow.endheaders()
        slow.send(b"\xff\xd8")
        assert busy.ask("/detect", "POST", photo()).status == 200
        assert slow.getresponse().status == 408


def test_requests_have_a_rate(tmp_path):
    with serving(tmp_path, {}, limits=Limits(requests_per_s=0.001, burst=3)) as slow:
        statuses = [slow.ask("/detect", "POST", photo()).status for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert int(slow.ask("/detect", "POST", b"").headers["retry-after"]) >= 1
        assert slow.ask("/health").status == 200


def test_cameras_are_listed_with_their_figures(served):
    answer = served.ask("/cameras").json
    assert (answer["model"], answer["class_names"], answer["threshold"]) == ("square", ["face", "eye"], 0.5)
    cameras = {camera["name"]: camera for camera in answer["cameras"]}
    assert list(cameras) == ["square", "other"]
    assert cameras["square"]["state"] == "live"
    assert cameras["square"]["size_wh"] == list(SIZE_WH)
    assert cameras["square"]["faces"] == 1
    assert served.ask("/cameras/square").json.keys() == cameras["square"].keys()


def test_a_snapshot_is_the_frame_without_boxes(served):
    answer = served.ask("/cameras/square/snapshot.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    image = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert abs(image.astype(int) - image.mean(axis=2, keepdims=True)).max() < 12  # grey, no coloured box
    place = int(answer.headers["x-frame"])
    x1, y1, x2, y2 = square_at(place)
    assert image[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].min() > 240


@pytest.mark.parametrize(
    "path", ["/cameras/none", "/cameras/none/snapshot.jpg", "/cameras/none/video.mjpg", "/streams?camera=none", "/none"]
)
def test_an_unknown_camera_or_path_is_not_found(served, path):
    answer = served.ask(path)
    assert answer.status == 404
    assert "error" in answer.json


def test_a_wrong_method_is_refused(served):
    assert served.ask("/detect").status == 405
    assert served.ask("/cameras", "DELETE").status == 405


def test_a_camera_without_a_frame_has_no_snapshot(tmp_path):
    source = SquareSource()
    source.silent.set()
    with serving(tmp_path, {"dark": source}) as dark:
        answer = dark.ask("/cameras/dark/snapshot.jpg")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert dark.ask("/cameras/dark").json["state"] == "connecting"


@contextmanager
def stream(served, path, headers=None):
    """The beginning of an answer without end."""
    with closing(http.client.HTTPConnection(served.host, timeout=WAIT_S)) as connection:
        connection.request("GET", path, headers=headers or {})
        yield connection.getresponse()


def next_part(answer):
    """Content type and data of the next part."""
    while not answer.readline().startswith(b"--"):
        pass
    head = {}
    while line := answer.readline().strip():
        name, _, value = line.decode().partition(": ")
        head[name.lower()] = value
    return head["content-type"], answer.read(int(head["content-length"]))


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_motion_jpeg_shows_the_frames(served):
    with stream(served, "/cameras/square/video.mjpg") as answer:
        assert answer.getheader("content-type") == "multipart/x-mixed-replace; boundary=frame"
        images = []
        for _ in range(4):
            kind, data = next_part(answer)
            assert kind == "image/jpeg"
            images.append(decoded(data))
    assert {image.shape for image in images} == {(SIZE_WH[1], SIZE_WH[0], 3)}
    assert any((images[0] != image).any() for image in images[1:])


def test_ffmpeg_reads_motion_jpeg(served):
    import av

    with av.open(f"{served.url}/cameras/square/video.mjpg", format="mpjpeg") as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(3), strict=False)]
    assert {(frame.width, frame.height) for frame in frames} == {SIZE_WH}


def test_the_stream_of_the_page_has_each_frame_with_its_own_boxes(served):
    seen = {"square": 0, "other": 0}
    with stream(served, "/streams?camera=square&camera=other&camera=square") as answer:
        while min(seen.values()) < 3:
            kind, data = next_part(answer)
            assert kind == "application/json"
            message = json.loads(data)
            kind, data = next_part(answer)
            assert kind == "image/jpeg"
            image = decoded(data)
            face = message["detections"][0]
            x1, y1, x2, y2 = map(round, face["box"])
            assert image[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].min() > 230
            assert image[y1 + 4 : y2 - 4, max(0, x1 - 12) : max(0, x1 - 6)].max(initial=0) < 130
            assert face["shown"]
            assert not message["detections"][1]["shown"]
            assert message["size_wh"] == list(SIZE_WH)
            seen[message["camera"]] += 1


def test_streams_need_a_camera(served):
    assert served.ask("/streams").status == 422


def test_too_many_viewers_are_refused(tmp_path):
    with serving(tmp_path, limits=Limits(viewers=2)) as few:
        path = "/cameras/square/video.mjpg"
        with stream(few, path) as first, stream(few, path) as second:
            next_part(first)
            next_part(second)
            assert few.ask(path).status == 429
        wait_until(lambda: few.server.app._streams == 0)


def next_event(answer):
    event = {}
    while line := answer.readline().decode().strip():
        name, _, value = line.partition(": ")
        event[name] = value
    return event if "event" in event else next_event(answer)


def test_events_tell_of_faces_and_cameras(tmp_path):
    source = SquareSource()
    source.silent.set()
    with serving(tmp_path, {"square": source}) as quiet, stream(quiet, "/events") as answer:
        assert answer.getheader("content-type").startswith("text/event-stream")
        source.silent.clear()
        events = [next_event(answer) for _ in range(2)]
        assert {event["event"] for event in events} == {"face_appeared", "camera_live"}
        appeared = json.loads(next(event["data"] for event in events if event["event"] == "face_appeared"))
        assert (appeared["camera"], appeared["id"]) == ("square", 1)
        assert appeared["time"].endswith("+00:00")
        source.silent.set()  # the face is gone after a second, and the camera is said to stall after two
        left = next_event(answer)
        assert left["event"] == "face_left"
        assert json.loads(left["data"])["id"] == 1
        lost = next_event(answer)
        assert lost["event"] == "camera_lost"
        assert json.loads(lost["data"])["status"].startswith("no frame for")
        with stream(quiet, "/events", {"Last-Event-ID": left["id"]}) as later:
            assert next_event(later)["id"] == lost["id"]
        assert quiet.ask("/events?camera=none").status == 404


def test_metrics_count_frames_and_requests(served):
    text = served.ask("/metrics").body.decode()
    figures = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            figures[name] = float(value)
    assert figures['realtime_frames_total{camera="square"}'] > 0
    assert figures['realtime_camera_up{camera="other"}'] == 1
    assert figures['realtime_faces{camera="square"}'] == 1
    assert figures['realtime_frame_age_seconds_count{camera="square"}'] > 0
    assert figures['realtime_inference_seconds_sum{camera="square"}'] > 0
    assert figures['realtime_frames_dropped_total{camera="square"}'] >= 0
    assert 'realtime_viewers{camera="square",format="h264"}' in figures


def test_health_says_whether_detection_runs(tmp_path, served):
    assert served.ask("/health").json == {"status": "ok"}
    with serving(tmp_path, {}) as failing:
        failing.engine.error = RuntimeError("gone")
        answer = failing.ask("/health")
        failing.engine.error = None
        assert (answer.status, answer.json) == (503, {"status": "failed"})


def test_detection_in_images_goes_on_while_cameras_run(served):
    threads = [
        threading.Thread(target=lambda: answers.append(served.ask("/detect", "POST", photo())), name=f"test-{number}")
        for number in range(12)
    ]
    answers = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert [answer.status for answer in answers] == [200] * 12
