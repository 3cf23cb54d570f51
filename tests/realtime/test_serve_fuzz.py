"""The HTTP API asked for all that its description allows, and for what it does not: never a fault of the server."""

import http.client
import random
import subprocess
import sys
from contextlib import closing

import pytest
from fakes import WAIT_S, wait_until
from served import serving

from realtime.serve.limits import Limits

pytest.importorskip("schemathesis")
GENEROUS = Limits(requests_per_s=1e6, burst=10**6)
ENDLESS = "events|video.mjpg|streams"
"""Paths whose answers do not end: these are asked below."""
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("fuzz"), limits=GENEROUS) as running:
        wait_until(lambda: running.server.registry.get("square").streams.latest)
        yield running


@pytest.mark.slow
def test_schemathesis_finds_no_fault_of_the_server(served):
    code = "from schemathesis.cli import schemathesis; schemathesis()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", f"{served.url}/openapi.json", "--checks", "not_a_server_error",
         "--max-examples", "10", "--mode", "all", "--phases", "fuzzing,coverage", "--seed", "1", "--no-color",
         "--exclude-path-regex", ENDLESS, "--request-timeout", "20"],
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "not_a_server_error" in done.stdout or "passed" in done.stdout.lower()


def test_requests_that_are_rubbish_are_refused(served):
    chance = random.Random(7)
    paths = [
        "/", "/cameras", "/cameras/square", "/cameras/square/video.mjpg", "/cameras/square/webrtc", "/detect",
        "/guests", "/link", "/login", "/page/", "/enter/", "/metrics", "/streams?camera=square", "/events", "/health",
    ]  # fmt: skip
    for _ in range(150):
        tail = "".join(chance.choice("/?%&=.\\~:;@é<>\"'0aA{}") for _ in range(chance.randrange(12)))
        path = (chance.choice(paths) + tail).encode("utf-8").decode("latin-1")
        body = chance.randbytes(chance.randrange(200)) if chance.random() < 0.6 else None
        headers = {
            name: "".join(chance.choice('abc/;="\\,*é ') for _ in range(9)).strip() or "x"
            for name in ("Content-Type", "Authorization", "Cookie", "Accept", "Range", "If-None-Match", "Last-Event-ID")
            if chance.random() < 0.4
        }
        with closing(http.client.HTTPConnection(served.host, timeout=WAIT_S)) as connection:
            try:
                connection.request(chance.choice(METHODS), path, body, headers)
            except (http.client.InvalidURL, UnicodeEncodeError):
                continue
            answer = connection.getresponse()
            assert answer.status < 500, (path, headers, body)
    assert served.ask("/health").status == 200
