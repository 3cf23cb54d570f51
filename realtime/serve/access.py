"""Who may ask the server for what: hosts, origins, the token, and headers that protect the page."""

import hmac
import ipaddress
import secrets
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realtime.serve.errors import error_response
from realtime.serve.limits import Rate

PAGE = Path(__file__).with_name("page")
COOKIE = "realtime_session"
SESSION_S = 30 * 24 * 3600
LINK_S = 24 * 3600
"""How long a link that nobody uses is good."""
MAX_SESSIONS = 256
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS = frozenset({"/health", "/login"})
"""What can be asked without a token."""
LINK = "/enter/"
"""Begins the path of a link that can be used once."""
STYLES = frozenset({"/page/style.css", "/page/icon.svg"})
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "same-origin",  # with none at all, browsers hide the origin of the login form too
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine alone."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class Sessions:
    """Browsers that have shown the token, and links that stand for it once."""

    token: str | None
    """None: everybody may enter."""
    _sessions: OrderedDict[str, float] = field(default_factory=OrderedDict)
    _links: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def knows_token(self, given: str) -> bool:
        """Compare in constant time."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def new_link(self) -> str:
        """A path that lets one browser in."""
        code = secrets.token_urlsafe(24)
        self._links[code] = time.monotonic() + LINK_S
        while len(self._links) > MAX_SESSIONS:
            self._links.popitem(last=False)
        return LINK + code

    def use_link(self, code: str) -> bool:
        """Whether a link was good; it is not any more."""
        match = next((known for known in self._links if hmac.compare_digest(known.encode(), code.encode())), None)
        if match is None:
            return False
        return time.monotonic() < self._links.pop(match)

    def begin(self) -> str:
        """The cookie of a browser that has shown the token."""
        session = secrets.token_urlsafe(32)
        self._sessions[session] = time.monotonic() + SESSION_S
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def knows_session(self, given: str) -> bool:
        """Whether a cookie is of a session that is not over."""
        now_s = time.monotonic()
        return any(
            hmac.compare_digest(session.encode(), given.encode()) and now_s < until_s
            for session, until_s in self._sessions.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Whom the server answers."""

    host: str
    """Where it listens."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which it is reached, those of a reverse proxy."""

    def accepts_host(self, header: str) -> bool:
        """Whether a request was meant for this server.

        A page from elsewhere can have its name resolve to this machine (DNS rebinding), but cannot use an address.
        """
        name = host_of(header)
        if name in self.allowed_hosts or name in LOOPBACK_NAMES:
            return True
        if is_loopback(self.host):
            return is_loopback(name)
        return name in {self.host.lower(), socket.gethostname().lower()} or _is_address(name)

    @property
    def is_public(self) -> bool:
        """Whether others than the users of this machine can reach it."""
        return not is_loopback(self.host) or bool(self.allowed_hosts)


def host_of(header: str) -> str:
    """The name in a ``Host`` header, without its port; empty if it is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class AccessMiddleware:
    """Lets through what the policy allows."""

    def __init__(self, app: ASGIApp, *, policy: Policy, sessions: Sessions, logins: Rate) -> None:
        self._app = app
        self._policy = policy
        self._sessions = sessions
        self._logins = logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused, pass on the others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refusal = self._refusal(connection, scope)
        protected = _with_headers(send)
        if refusal is None:
            await self._app(scope, receive, protected)
        elif refusal[0] == 401 and _is_navigation(connection.headers, scope):
            await login_page(401)(scope, receive, protected)
        else:
            await error_response(*refusal)(scope, receive, protected)

    def _refusal(self, connection: HTTPConnection, scope: Scope) -> tuple[int, str] | None:
        headers = connection.headers
        if not self._policy.accepts_host(headers.get("host", "")):
            return 421, "this server is not known under that name"
        if _is_cross_site(headers, scope):
            return 403, "requests from other sites are not answered"
        path = scope["path"]
        if self._sessions.token is None or path in OPEN_PATHS or path in STYLES or path.startswith(LINK):
            return None
        return None if self._is_known(connection) else self._stranger(connection)

    def _is_known(self, connection: HTTPConnection) -> bool:
        kind, _, given = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return self._sessions.knows_session(connection.cookies.get(COOKIE, ""))
        client = _client(connection)
        if self._logins.is_empty(client):
            return False
        known = self._sessions.knows_token(given.strip())
        if not known:
            self._logins.allows(client)
        return known

    def _stranger(self, connection: HTTPConnection) -> tuple[int, str]:
        if self._logins.is_empty(_client(connection)):
            return 429, "too many wrong tokens; wait a minute"
        return 401, "a token is needed: 'Authorization: Bearer TOKEN', or the link that the server printed"


def _client(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def _is_cross_site(headers: Headers, scope: Scope) -> bool:
    """Whether a page of another site has sent a request. Following a link to this site is no such request."""
    origin = headers.get("origin")
    if origin is not None:  # the scheme may differ: a proxy may have taken HTTPS off
        return origin.partition("://")[2].lower() != headers.get("host", "").lower()
    site = headers.get("sec-fetch-site")
    follows_link = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
    is_framed = headers.get("sec-fetch-dest") not in {None, "document"}
    return site in {"cross-site", "same-site"} and (not follows_link or is_framed)


def _is_navigation(headers: Headers, scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def login_page(status: int) -> Response:
    """The form that asks for the token."""
    return FileResponse(PAGE / "login.html", status)


def _with_headers(send: Send) -> Send:
    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in PAGE_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return protected
