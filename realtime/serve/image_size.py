"""The size of an image that a client sends, read from its header before anything is decoded."""

import re

from realtime.image_structure import JPEG_START, PNG_START, STANDALONE, START_OF_SCAN

START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Second bytes of the markers that give the size (ITU-T T.81, table B.1)."""
_MARKER = re.compile(rb"\xff+([^\x00\xff])")


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a JPEG, PNG or WebP file as stored; None for anything else."""
    if data.startswith(JPEG_START):
        return _jpeg_size(data)
    if data.startswith(PNG_START) and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = len(JPEG_START)
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = marker[1][0], marker.end()
        if kind == START_OF_SCAN:
            return None
        if kind in START_OF_FRAME:
            height, width = (int.from_bytes(data[at + 3 + i : at + 5 + i], "big") for i in (0, 2))
            return width, height
        if kind not in STANDALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Of the three kinds of its first chunk (RFC 9649)."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
