"""The sound of a video file, taken over into another."""

from collections.abc import Iterator
from pathlib import Path

from realtime.ffmpeg import av

COPYABLE_CODECS = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    "mov": frozenset({"aac", "mp3", "ac3", "alac"}),
    "matroska": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "vorbis", "pcm_s16le", "pcm_s24le"}),
}
"""Codecs that each container takes and players expect in it; others, such as raw sound in MP4, are encoded as AAC."""
MAX_AAC_RATE_HZ = 48_000


class AudioTrack:
    """The first sound stream of a file, copied untouched where the new container allows, else encoded as AAC.

    The file is opened a second time, so that sound and picture need not be read in step.
    """

    def __init__(self, source: Path, target: av.container.OutputContainer, target_format: str) -> None:
        """Add the stream to ``target``, a container of a kind in ``COPYABLE_CODECS``; none if the file has no sound.

        Raises:
            av.FFmpegError: the file cannot be read.
        """
        self._source = av.open(str(source))
        self._target = target
        self._ahead: av.Packet | None = None
        self._packets: Iterator[av.Packet]
        if not self._source.streams.audio:
            self._packets = iter(())
            return
        stream = self._source.streams.audio[0]
        if stream.codec_context.name in COPYABLE_CODECS[target_format]:
            self._stream = target.add_stream_from_template(stream)
            self._packets = self._copied(stream)
        else:
            # Raw sound often comes without a named layout, which the encoder insists on.
            layout = "mono" if stream.channels == 1 else "stereo"
            self._stream = target.add_stream("aac", rate=min(stream.rate, MAX_AAC_RATE_HZ), layout=layout)
            self._packets = self._encoded(stream)

    def copy_until(self, time_s: float) -> None:
        """Write all packets that begin up to a time, so that sound and picture lie near each other in the file."""
        while True:
            packet = self._ahead or next(self._packets, None)
            self._ahead = packet
            if packet is None or (packet.pts is not None and packet.pts * packet.time_base > time_s):
                return
            self._ahead = None
            self._target.mux(packet)

    def close(self) -> None:
        """Close the file that the sound comes from."""
        self._source.close()

    def _copied(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        for packet in self._source.demux(stream):
            if packet.dts is not None:  # the last, empty packet of a demuxer has none
                packet.stream = self._stream
                yield packet

    def _encoded(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        for frame in self._source.decode(stream):
            yield from self._stream.encode(frame)
        yield from self._stream.encode(None)
