"""Counts of the errors in a damaged file."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

SEGMENT_ID = b"\x18\x53\x80\x67"
HEAD_BYTES = 4096
"""The segment of a Matroska file begins well within them."""


@dataclass(slots=True)
class DecodeErrors:
    """Counts of what was skipped in a damaged file, by the reader of its frames or of its audio."""

    packets: int = 0
    """Packets of video that could not be read or decoded."""
    frames: int = 0
    """Frames that were decoded with errors and used all the same."""
    audio_packets: int = 0
    """Packets of audio that could not be remuxed or encoded."""
    audio_tracks: int = 0
    """Audio tracks that are left out because their codec is unknown here."""
    missing_bytes: int = 0
    """How much longer the file should be by its own account."""

    def __bool__(self) -> bool:
        """True if the file is damaged; an audio track of an unknown codec is no damage."""
        return any((self.packets, self.frames, self.audio_packets, self.missing_bytes))

    def __add__(self, other: "DecodeErrors") -> "DecodeErrors":
        return DecodeErrors(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __str__(self) -> str:
        """For people, such as "3 packets are lost, the file ends 512 bytes early"."""
        parts = (
            (self.packets, "packet is lost", "packets are lost"),
            (self.frames, "frame has errors", "frames have errors"),
            (self.audio_packets, "audio packet is lost", "audio packets are lost"),
            (
                self.audio_tracks,
                "audio track with an unknown codec is left out",
                "audio tracks with unknown codecs are left out",
            ),
        )
        found = [f"{count} {one if count == 1 else many}" for count, one, many in parts if count]
        if self.missing_bytes:
            found.append(f"the file ends {self.missing_bytes} bytes early")
        return ", ".join(found)


def is_animated_webp(path: Path) -> bool:
    """Whether a file is an animation in WebP's extended format (RFC 9649), which FFmpeg's decoder does not know."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 2)


def missing_bytes(path: Path) -> int:
    """Bytes by which an MP4, MOV, Matroska, WebM or AVI file is shorter than its headers say; 0 for others.

    FFmpeg's demuxers do not report an early end. Of a pipe, which can be read only once, nothing is known.
    """
    if not path.is_file():
        return 0
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if head[4:8] == b"ftyp":
            return max(0, _boxes_end(file, size) - size)
    if head[:4] == b"RIFF" and len(head) >= 8:
        return max(0, 8 + int.from_bytes(head[4:8], "little") - size)
    return max(0, _matroska_end(head) - size)


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last of the boxes at the top of an MP4 file (ISO/IEC 14496-12) ends."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # a 64-bit length follows
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not head[4:8].isalnum():  # a box up to the end of the file, or no box
            return size
        at += length
    return at


def _matroska_end(head: bytes) -> int:
    """Where the segment ends; 0 if there is none, or its length is unknown, as in a live recording."""
    at = head.find(SEGMENT_ID) + len(SEGMENT_ID)
    if not head.startswith(b"\x1a\x45\xdf\xa3") or at < len(SEGMENT_ID) or at >= len(head) or head[at] == 0:
        return 0
    # An EBML number (RFC 8794): the leading zero bits of its first byte give the number of bytes that follow.
    more = 8 - head[at].bit_length()
    digits = head[at : at + 1 + more]
    length = int.from_bytes(digits, "big") & ((1 << (7 * (1 + more))) - 1)
    is_open = length == (1 << (7 * (1 + more))) - 1
    return 0 if is_open else at + 1 + more + length
