"""Deinterlacing."""

from collections.abc import Iterable, Iterator
from typing import cast

from realtime.ffmpeg import av

FILTER = "bwdif"
OPTIONS = "mode=send_frame:deint=interlaced"
"""One frame out for each frame in; progressive frames pass unchanged."""


def deinterlace(frames: Iterable[av.VideoFrame], stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames of ``stream`` in order, deinterlaced from the first interlaced one on."""
    graph: av.filter.Graph | None = None
    shape = None
    for frame in frames:
        if graph is not None and shape != _shape(frame):
            yield from _rest(graph, stream)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, shape = _graph(frame, stream), _shape(frame)
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _ready(graph, stream)
    if graph is not None:
        yield from _rest(graph, stream)


def _shape(frame: av.VideoFrame) -> tuple[int, int, str]:
    """What must not change within a graph."""
    return frame.width, frame.height, frame.format.name


def _graph(frame: av.VideoFrame, stream: av.VideoStream) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base)
    graph.link_nodes(source, graph.add(FILTER, OPTIONS), graph.add("buffersink")).configure()
    return graph


def _rest(graph: av.filter.Graph, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    graph.push(None)
    yield from _ready(graph, stream)


def _ready(graph: av.filter.Graph, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = cast("av.VideoFrame", graph.pull())
        except (av.BlockingIOError, av.EOFError):
            return
        if frame.pts is not None and frame.time_base and stream.time_base:
            frame.pts = round(frame.pts * frame.time_base / stream.time_base)  # the filter's time base is half as long
        yield frame
