"""Where WebRTC's sockets are: at the addresses at which the server itself listens, and nowhere else."""

import re
import socket
from collections.abc import Callable

import aioice.ice

from realtime.serve.access import is_loopback

_MDNS_CANDIDATE = re.compile(r"^a=candidate:(?:\S+ ){4}\S+\.local .*\r?\n", re.MULTILINE)
_all_addresses: Callable[[bool, bool], list[str]] = aioice.ice.get_host_addresses


def bind_to(host: str) -> None:
    """Let all peers of this process use the addresses of ``host`` alone.

    aioice takes those of all interfaces but loopback, which would be open to the network when the server is not, and
    none without a network.
    """

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:  # noqa: FBT001 - as aioice calls it
        if host in {"0.0.0.0", "::", ""}:
            return _all_addresses(use_ipv4, use_ipv6) or ["127.0.0.1"]
        if is_loopback(host):
            return ["127.0.0.1"]
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        return sorted({str(info[4][0]) for info in found})

    aioice.ice.get_host_addresses = addresses


def without_mdns(sdp: str) -> str:
    """An offer without the names that hide a browser's addresses (``….local``).

    They would be looked up by multicast, from sockets that are open to the network. They are not needed: the browser
    sends first, and the server answers where that came from.
    """
    return _MDNS_CANDIDATE.sub("", sdp)
