"""Whether the file of an image reaches its end, seen from its structure."""

import re

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
START_OF_SCAN = 0xDA
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Second bytes of markers without a segment (ITU-T T.81, table B.1)."""
_MARKER = re.compile(rb"\xff+([^\x00\xff])")


def is_cut_short(data: bytes) -> bool:
    """True if a JPEG or PNG file ends before its image does; False for other formats, whose decoders refuse such files.

    What follows the image is of no account: further images, trailing bytes.
    """
    if data.startswith(JPEG_START):
        return _jpeg_is_cut_short(data)
    return data.startswith(PNG_START) and _png_is_cut_short(data)


def _jpeg_is_cut_short(data: bytes) -> bool:
    """Whether there is no end marker behind the first scan (T.81, B.2); thumbnails in the header have their own.

    In compressed data 0xFF is followed by 0 or a restart marker, so that the end marker cannot occur in it.
    """
    at = len(JPEG_START)
    while True:
        marker = _MARKER.search(data, at)
        if marker is None:
            return True
        kind = marker[1][0]
        at = marker.end()
        if kind == START_OF_SCAN:
            return data.find(JPEG_END, at) < 0
        if kind not in STANDALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))


def _png_is_cut_short(data: bytes) -> bool:
    """Whether the chunks (ISO/IEC 15948) end before that of the image's end."""
    at = len(PNG_START)
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return True
