"""``realtime serve``."""

import re
import secrets
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from realtime.commands.console import Notices, exit_if_stopped, print_message
from realtime.commands.live_sources import LiveSettings, Transport, live_sources
from realtime.commands.opening import chosen_threshold, open_detector, speed_notices
from realtime.commands.options import SOURCE, LiveReach, Model, ProviderOption, Raw, Threshold
from realtime.errors import RealtimeError
from realtime.inference.providers import Provider
from realtime.stopping import StopRequests

if TYPE_CHECKING:
    from realtime.cameras.engine import Engine
    from realtime.inference.detector import OnnxDetector
    from realtime.regions.tiles import Reach
    from realtime.serve.server import Server

SERVER = "Server"
INSTALL = "pip install 'facial-feature-rcnn[serve]'"
MIN_TOKEN_CHARS = 16
CHECK_S = 0.5
"""How often it is looked whether detection still runs."""
NOTHING: list[str] = []


def serve(
    device: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]SOURCE",
            help="Number or device file of a camera, or a stream: rtsp://, http://, udp:// …; may be given several "
            "times. Without it, browsers can still send their own camera.",
            rich_help_panel=SOURCE,
        ),
    ] = NOTHING,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Ask the cameras for this size, such as 1280x720.", rich_help_panel=SOURCE),
    ] = None,
    open_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a stream may take to open.", rich_help_panel=SOURCE)
    ] = 10.0,
    read_timeout: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds without a frame after which a stream is lost.", rich_help_panel=SOURCE),
    ] = 5.0,
    rtsp_transport: Annotated[
        Transport, typer.Option(help="How RTSP's packets travel.", rich_help_panel=SOURCE)
    ] = Transport.TCP,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; any but this machine's own needs a token.", rich_help_panel=SERVER),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any.", rich_help_panel=SERVER)
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="REALTIME_TOKEN",
            help="What everybody has to show; made and printed if one is needed. The environment variable hides it "
            "from the list of processes.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    allow_host: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="A further name under which the server is reached, such as that of a reverse proxy.",
            rich_help_panel=SERVER,
        ),
    ] = NOTHING,
    model: Model = "nano",
    provider: ProviderOption = Provider.AUTO,
    threshold: Threshold = None,
    reach: LiveReach = "auto",
    raw: Raw = False,
) -> None:
    """Show cameras in the browser, and detect over HTTP."""
    _check_installed()
    from realtime.cameras.engine import Engine
    from realtime.inference.cores import core_count
    from realtime.regions.tiles import Reach

    access = _access(host, allow_host, token)
    settings = LiveSettings(
        size=size, open_timeout_s=open_timeout, read_timeout_s=read_timeout, rtsp_transport=rtsp_transport
    )
    sources = live_sources(device, settings)
    looking = _Looking(threshold, Reach.parse(reach), raw)
    workers = max(1, min(core_count(), len(sources)))
    with StopRequests() as requests, ExitStack() as closing:
        stopped = threading.Event()
        requests.call(stopped.set)
        engine = Engine(partial(open_detector, model, provider, concurrency=workers))
        closing.callback(engine.close)
        import realtime.inference.detector

        engine.load_ahead()
        import realtime.serve.server  # noqa: F401 - it takes as long as the model

        detector = cast("OnnxDetector", engine.start())
        server = _server(engine, detector, model, access, port, looking)
        closing.callback(server.stop)
        server.start([(one.name, one.source) for one in sources])
        Notices([*speed_notices(detector, model), *_greeting(server, access)]).print()
        _wait(stopped, engine)
    print_message("stopped")
    exit_if_stopped(requests)


@dataclass(frozen=True, slots=True)
class _Access:
    host: str
    allowed_hosts: tuple[str, ...]
    token: str | None
    is_token_new: bool


@dataclass(frozen=True, slots=True)
class _Looking:
    threshold: float | None
    reach: "Reach"
    raw: bool


def _check_installed() -> None:
    for module in ("starlette", "uvicorn", "aiortc", "prometheus_client"):
        if find_spec(module) is None:
            raise RealtimeError(f"cannot run realtime serve: {module} is not installed. Install it with: {INSTALL}")


def _access(host: str, allow_host: list[str], token: str | None) -> _Access:
    from realtime.serve.access import Policy

    names = tuple(_checked_name(name) for name in allow_host)
    if token is not None and not re.fullmatch(rf"[!-~]{{{MIN_TOKEN_CHARS},}}", token):
        raise typer.BadParameter(f"expected at least {MIN_TOKEN_CHARS} characters without spaces", param_hint="--token")
    is_needed = token is None and Policy(host=host, allowed_hosts=names).is_public
    return _Access(host, names, secrets.token_urlsafe(24) if is_needed else token, is_needed)


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
        raise typer.BadParameter(f"expected a name such as cams.example.org, found {name!r}", param_hint="--allow-host")
    return name.lower()


def _server(
    engine: "Engine", detector: "OnnxDetector", model: str, access: _Access, port: int, looking: _Looking
) -> "Server":
    from realtime.cameras.camera import Looking
    from realtime.inference.cores import core_count
    from realtime.serve.app import Shown
    from realtime.serve.server import ServeOptions, Server
    from realtime.stills import detect_still, with_reach

    options = ServeOptions(
        host=access.host,
        port=port,
        allowed_hosts=access.allowed_hosts,
        token=access.token,
        threshold=chosen_threshold(looking.threshold, detector),
        looking=Looking(
            raw=looking.raw, reach=looking.reach, uses_helper=detector.concurrency == 1 and core_count() > 1
        ),
    )
    shown = Shown(
        model=Path(model).stem, provider=detector.provider.value, class_names=tuple(detector.metadata.class_names)
    )
    return Server(engine, partial(detect_still, with_reach(detector, looking.reach)), shown, options)


def _greeting(server: "Server", access: _Access) -> list[str]:
    if access.token is None:
        return [f"serving at {server.address}"]
    lines = [f"serving at {server.address}; this link lets one browser in, once:"]
    lines.append(f"  {server.address}{server.sessions.new_link()}")
    return [*lines, f"token for others and for programs: {access.token}"] if access.is_token_new else lines


def _wait(stopped: threading.Event, engine: "Engine") -> None:
    """Until a signal, or until detection fails, whose error ``close`` raises."""
    while not stopped.wait(CHECK_S) and engine.error is None:
        pass
