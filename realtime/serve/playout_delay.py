"""Asks browsers to show each frame of a video as soon as it is there.

By default they delay frames by their estimate of the network's jitter, for a steady pace. A header extension of RTP
tells them the least and the longest delay that the sender wants
(http://www.webrtc.org/experiments/rtp-hdrext/playout-delay); ``jitterBufferTarget`` of the page can only raise the
estimate. Where a browser does not offer the extension, nothing changes.
"""

import re

from aiortc import RTCRtpHeaderExtensionParameters, RTCRtpParameters, RTCRtpTransceiver
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, pack_header_extensions, unpack_header_extensions

URI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
NO_DELAY = bytes(3)
"""Least and longest delay, 12 bits each, in units of 10 ms."""
_OFFERED = re.compile(rf"^a=extmap:(\d+)(?:/\w+)? {re.escape(URI)}\s*$", re.MULTILINE)


class NoDelayExtensions(HeaderExtensionsMap):
    """The header extensions of aiortc, and that frames are to be shown at once."""

    def __init__(self) -> None:
        super().__init__()
        self._id: int | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        """Learn the numbers that were agreed on."""
        super().configure(parameters)
        self._id = next((one.id for one in parameters.headerExtensions if one.uri == URI), None)

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        """The extensions of a packet: the profile of their form, and their bytes."""
        profile, packed = super().set(values)
        if self._id is None:
            return profile, packed
        return pack_header_extensions([*unpack_header_extensions(profile, packed), (self._id, NO_DELAY)])


def show_at_once(transceiver: RTCRtpTransceiver, offer: str) -> None:
    """Have a sender ask for no delay, if the offer (SDP) that it is to answer knows the extension.

    aiortc has no public way to add header extensions.
    """
    if offered := _OFFERED.search(offer):
        transceiver._headerExtensions.append(RTCRtpHeaderExtensionParameters(id=int(offered[1]), uri=URI))  # noqa: SLF001
        setattr(transceiver.sender, "_RTCRtpSender__rtp_header_extensions_map", NoDelayExtensions())  # noqa: B010
