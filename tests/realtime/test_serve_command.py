"""``realtime serve``, started as a user starts it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager

import pytest
from fakes import WAIT_S, stub_model
from senders import ffmpeg_sender, free_port, grey_for_ever, jpeg_server, needs_ffmpeg

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "REALTIME_TOKEN")}
USER = "admin:hunter2@"
TOKEN = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path):
    stub_model(tmp_path / "m.onnx")
    return tmp_path


class Process:
    """A running server and what it said."""

    def __init__(self, folder, *arguments, first="", **environment):
        code = first + "from realtime.cli import run_cli; run_cli()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--model", "m.onnx", "--port", "0", "--provider", "cpu", *arguments],
            cwd=folder, env=ENVIRONMENT | environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines = []

    def wait_for(self, pattern):
        while line := self.process.stderr.readline():
            self.lines.append(line.rstrip())
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended: {self.lines}")

    @property
    def host(self):
        return self.wait_for(r"serving at http://(\S+?:\d+)")[1]

    def end(self):
        output, errors = self.process.communicate(timeout=WAIT_S)
        text = "\n".join([*self.lines, output, errors])
        assert "hunter2" not in text
        return text


@contextmanager
def serving(folder, *arguments, **options):
    started = Process(folder, *arguments, **options)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def ask(host, path, headers=None):
    with closing(http.client.HTTPConnection(host, timeout=WAIT_S)) as connection:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def camera_of(host, name):
    return json.loads(ask(host, f"/cameras/{name}")[1])


def state_of(host, name):
    return camera_of(host, name)["state"]


def wait_for_state(host, name, state):
    wait_until(lambda: state_of(host, name) == state)


def wait_until(condition):
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_prints_its_address_and_ends_within_two_seconds_with_viewers_attached(folder, number, code):
    with jpeg_server(lambda viewer: viewer.play(grey_for_ever(90))) as sender, ExitStack() as stack:
        served = stack.enter_context(
            serving(folder, "--device", f"front=http://{USER}{sender}/live", "--device", f"http://{USER}127.0.0.1:1/x")
        )
        host = served.host
        wait_for_state(host, "front", "live")
        wait_until(lambda: "try" in camera_of(host, "127.0.0.1")["status"])
        for path in ("/cameras/front/video.mjpg", "/events", "/streams?camera=front"):
            connection = stack.enter_context(closing(http.client.HTTPConnection(host, timeout=WAIT_S)))
            connection.request("GET", path)
            connection.getresponse().read(10)
        assert b"hunter2" not in ask(host, "/cameras")[1] + ask(host, "/metrics")[1]
        started_s = time.monotonic()
        served.process.send_signal(number)
        text = served.end()
        assert time.monotonic() - started_s < 2
        assert served.process.returncode == code, text
        assert text.splitlines()[-1] == "stopped"
        assert "127.0.0.1: cannot open stream http://***@127.0.0.1:1/x" in text


def test_a_sender_that_never_answers_does_not_hold_up_the_end(folder):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        serving(folder, "--device", f"http://127.0.0.1:{silent.getsockname()[1]}/x", "--open-timeout", "600") as served,
    ):
        assert state_of(served.host, "127.0.0.1") == "connecting"
        started_s = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        served.end()
        assert time.monotonic() - started_s < 2.5


@needs_ffmpeg
@pytest.mark.slow
def test_real_senders_come_go_and_come_back(folder):
    ports = [free_port(socket.SOCK_DGRAM) for _ in range(2)]
    devices = [f"{name}=udp://127.0.0.1:{port}" for name, port in zip("ab", ports, strict=True)]
    with serving(folder, "--device", devices[0], "--device", devices[1], "--read-timeout", "1") as served:
        host = served.host
        with ffmpeg_sender(ports[0]):
            with ffmpeg_sender(ports[1]):
                wait_for_state(host, "a", "live")
                wait_for_state(host, "b", "live")
            wait_for_state(host, "b", "lost")
            assert state_of(host, "a") == "live"
            with ffmpeg_sender(ports[1], colour="white"):
                wait_for_state(host, "b", "live")
                assert state_of(host, "a") == "live"
        served.process.send_signal(signal.SIGINT)
        assert "b: connected again" in served.end()


def test_another_address_than_loopback_gets_a_token_and_a_link_that_works_once(folder):
    with serving(folder, "--host", "0.0.0.0") as served:
        host = served.host
        link = served.wait_for(r"http://\S+(/enter/\S+)")[1]
        token = served.wait_for(r"token for others and for programs: (\S+)")[1]
        assert len(token) >= 32
        assert ask(host, "/cameras")[0] == 401
        assert ask(host, "/cameras", {"Authorization": f"Bearer {token}"})[0] == 200
        assert [ask(host, link)[0] for _ in range(2)] == [303, 303]
        assert ask(host, "/health")[0] == 200


def test_a_token_that_is_given_is_not_printed(folder):
    with serving(folder, "--allow-host", "cams.example.org", REALTIME_TOKEN=TOKEN) as served:
        host = served.host
        headers = {"Host": "cams.example.org", "Authorization": f"Bearer {TOKEN}"}
        assert ask(host, "/cameras", headers)[0] == 200
        assert ask(host, "/cameras", headers | {"Host": "evil.example"})[0] == 421
        served.process.send_signal(signal.SIGTERM)
        assert TOKEN not in served.end()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "a=0", "--device", "a=1"], 1, "--device a: it is the name of two cameras"),
        (["--device", "nonsense"], 1, "--device nonsense: neither a camera's number or device file"),
        (["--device", f"http://{USER}h/x", "--size", "1x"], 2, "expected WIDTHxHEIGHT"),
        (["--host", "no.such.host.invalid"], 1, "--host no.such.host.invalid: cannot listen"),
        (["--token", "short"], 2, "expected at least 16 characters"),
        (["--allow-host", "a/b"], 2, "expected a name such as cams.example.org"),
    ],
)
def test_wrong_use_is_said_in_one_line(folder, arguments, code, message):
    with serving(folder, *arguments) as served:
        text = served.end()
        assert served.process.returncode == code, text
        assert message in " ".join(text.replace("│", " ").split())
        assert "Traceback" not in text


def test_a_port_that_is_taken_is_an_error_at_once(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = "from realtime.cli import run_cli; run_cli()"
        done = subprocess.run(
            [sys.executable, "-c", code, "serve", "--model", "m.onnx", "--port", str(port)],
            cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"error: --port {port}: cannot listen at 127.0.0.1: address already in use" in done.stderr


def test_without_the_extra_one_line_says_how_to_install_it(folder):
    missing = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'aiortc' else f(n, *a)\n"
    )
    with serving(folder, first=missing) as served:
        text = served.end()
    assert served.process.returncode == 1
    assert "cannot run realtime serve: aiortc is not installed" in text
    assert "pip install 'facial-feature-rcnn[serve]'" in text
