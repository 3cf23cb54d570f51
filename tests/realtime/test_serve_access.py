"""Who may see the cameras: hosts, origins, tokens, links."""

import re
from types import SimpleNamespace

import pytest
from moving_square import SquareSource
from served import TOKEN, serving

from realtime.serve.access import Policy, Sessions, is_loopback
from realtime.serve.ice import bind_to, without_mdns
from realtime.serve.limits import Limits, Rate

PRIVATE = [
    "/", "/cameras", "/cameras/square", "/cameras/square/snapshot.jpg", "/cameras/square/video.mjpg",
    "/streams?camera=square", "/events", "/metrics", "/openapi.json", "/docs", "/page/main.js", "/none",
]  # fmt: skip
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("open")) as running:
        yield running


@pytest.fixture
def closed_server(tmp_path):
    with serving(tmp_path, {"square": SquareSource()}, token=TOKEN, limits=Limits(logins_per_minute=3)) as running:
        yield running


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:{port}", 200), ("127.0.0.1:{port}", 200), ("[::1]:{port}", 200), ("LOCALHOST", 200),
        ("evil.example", 421), ("evil.example:{port}", 421), ("127.0.0.1.evil.example", 421), ("", 421),
        ("192.168.0.7:{port}", 421), ("[::1", 421),
    ],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_not_answered(open_server, host, status):
    """DNS rebinding: a page of evil.example whose name now means 127.0.0.1."""
    headers = {"Host": host.format(port=open_server.server.port)}
    assert open_server.ask("/cameras", headers=headers).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/cameras"), ("POST", "/detect"), ("POST", "/guests")])
def test_pages_of_other_sites_get_nothing(open_server, headers, method, path):
    answer = open_server.ask(path, method, b"{}" if method == "POST" else None, headers)
    assert answer.status == 403


def test_the_own_page_and_a_link_from_elsewhere_are_answered(open_server):
    own = {"Origin": open_server.url, "Sec-Fetch-Site": "same-origin"}
    assert open_server.ask("/cameras", headers=own).status == 200
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert open_server.ask("/", headers=linked).status == 200


def test_the_page_is_protected_by_its_headers(open_server):
    headers = open_server.ask("/").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers


def test_nothing_of_the_page_comes_from_elsewhere(open_server):
    for name in ("", "docs", "login"):
        text = open_server.ask(f"/{name}").body.decode()
        for address in re.findall(r"(?:src|href|action)=\"([^\"]+)\"", text):
            assert address.startswith("/"), address
            assert open_server.ask(address).status in {200, 401, 405}, address
    assert open_server.ask("/page/../server.py").status == 404
    assert open_server.ask("/page/%2e%2e/server.py").status == 404


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "realtime_session=wrong"},
                                     {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer"}])  # fmt: skip
def test_without_the_token_there_is_nothing(closed_server, path, headers):
    answer = closed_server.ask(path, headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN.encode() not in answer.body


def test_the_token_opens_all_and_health_needs_none(closed_server):
    assert closed_server.ask("/cameras", headers=BEARER).status == 200
    assert closed_server.ask("/health").json == {"status": "ok"}
    assert closed_server.ask("/login").status == 200
    assert closed_server.ask("/page/style.css").status == 200


def test_a_link_lets_one_browser_in(closed_server):
    path = closed_server.server.sessions.new_link()
    answer = closed_server.ask(path)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert closed_server.ask("/cameras", headers={"Cookie": cookie.partition(";")[0]}).status == 200
    again = closed_server.ask(path)
    assert (again.status, again.headers["location"]) == (303, "/login")
    assert "set-cookie" not in again.headers


def test_who_is_in_can_make_a_link_for_another_device(closed_server):
    assert closed_server.ask("/link", "POST").status == 401
    path = closed_server.ask("/link", "POST", headers=BEARER).json["path"]
    assert "set-cookie" in closed_server.ask(path).headers


def test_the_form_takes_the_token(closed_server):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert closed_server.ask("/login", "POST", b"token=wrong", form).status == 401
    answer = closed_server.ask("/login", "POST", f"token={TOKEN}".encode(), form)
    assert answer.status == 303
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert closed_server.ask("/", headers={"Cookie": cookie}).status == 200


def test_tokens_cannot_be_tried_one_after_the_other(closed_server):
    wrong = {"Authorization": "Bearer wrong"}
    assert [closed_server.ask("/cameras", headers=wrong).status for _ in range(3)] == [401, 401, 429]
    assert closed_server.ask("/cameras", headers=BEARER).status == 429
    assert closed_server.ask("/login", "POST", f"token={TOKEN}".encode()).status == 429
    assert closed_server.ask("/enter/x").status == 429
    assert closed_server.ask("/health").status == 200


@pytest.mark.parametrize(
    ("host", "allowed", "header", "accepted"),
    [
        ("0.0.0.0", (), "192.168.0.7:8000", True),
        ("0.0.0.0", (), "[fe80::1]:8000", True),
        ("0.0.0.0", (), "cams.example.org", False),
        ("0.0.0.0", ("cams.example.org",), "cams.example.org", True),
        ("127.0.0.1", ("cams.example.org",), "cams.example.org:443", True),
        ("camhost", (), "camhost:8000", True),
        ("127.0.0.1", (), "127.0.0.2", True),
    ],
)
def test_hosts_that_are_accepted(host, allowed, header, accepted):
    assert Policy(host=host, allowed_hosts=allowed).accepts_host(header) is accepted


@pytest.mark.parametrize(
    ("host", "allowed", "public"),
    [("127.0.0.1", (), False), ("localhost", (), False), ("::1", (), False), ("0.0.0.0", (), True), ("::", (), True),
     ("10.0.0.1", (), True), ("127.0.0.1", ("cams.example.org",), True)],
)  # fmt: skip
def test_what_others_can_reach_needs_a_token(host, allowed, public):
    assert Policy(host=host, allowed_hosts=allowed).is_public is public
    assert is_loopback(host) is not (public and not allowed)


def test_sessions_and_links_are_bounded_and_end(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("realtime.serve.access.time", SimpleNamespace(monotonic=lambda: clock[0]))
    sessions = Sessions(TOKEN)
    links = [sessions.new_link().removeprefix("/enter/") for _ in range(300)]
    assert not sessions.use_link(links[0])
    assert sessions.use_link(links[-1])
    cookie = sessions.begin()
    assert sessions.knows_session(cookie)
    clock[0] += 31 * 24 * 3600
    assert not sessions.knows_session(cookie)
    assert not sessions.use_link(links[-2])


def test_rates_recover():
    clock = [0.0]
    rate = Rate(1.0, 2.0, lambda: clock[0])
    assert [rate.allows("a") for _ in range(3)] == [True, True, False]
    assert rate.allows("b")
    clock[0] += 1.0
    assert [rate.allows("a") for _ in range(2)] == [True, False]
    assert rate.is_empty("a")


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", ["127.0.0.1"]), ("localhost", ["127.0.0.1"])])
def test_video_travels_where_the_server_listens(host, expected):
    import aioice.ice

    try:
        bind_to(host)
        assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == expected
        bind_to("0.0.0.0")
        assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)
    finally:
        bind_to("127.0.0.1")


def test_hidden_addresses_of_browsers_are_not_looked_up():
    line = "a=candidate:1 1 udp 2122260223 f00.local 50000 typ host generation 0\r\n"
    kept = "a=candidate:2 1 udp 2122260223 127.0.0.1 50000 typ host\r\n"
    assert without_mdns(f"v=0\r\n{line}{kept}a=mid:0\r\n") == f"v=0\r\n{kept}a=mid:0\r\n"
