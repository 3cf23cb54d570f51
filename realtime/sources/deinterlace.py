"""Interlaced video as whole pictures."""

from collections.abc import Iterable, Iterator
from typing import cast

from realtime.ffmpeg import av

FILTER = "bwdif"
OPTIONS = "mode=send_frame:deint=interlaced"
"""One picture out for each one in; those that are not interlaced pass as they are."""


def whole_pictures(pictures: Iterable[av.VideoFrame], stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The pictures of ``stream`` in their order, without combs from the first interlaced one on."""
    graph: av.filter.Graph | None = None
    shape = None
    for picture in pictures:
        if graph is not None and shape != _shape(picture):
            yield from _rest(graph, stream)
            graph = None
        if graph is None and picture.interlaced_frame:
            graph, shape = _graph(picture, stream), _shape(picture)
        if graph is None:
            yield picture
        else:
            graph.push(picture)
            yield from _ready(graph, stream)
    if graph is not None:
        yield from _rest(graph, stream)


def _shape(picture: av.VideoFrame) -> tuple[int, int, str]:
    """What must stay the same in a graph."""
    return picture.width, picture.height, picture.format.name


def _graph(picture: av.VideoFrame, stream: av.VideoStream) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=stream.time_base
    )
    graph.link_nodes(source, graph.add(FILTER, OPTIONS), graph.add("buffersink")).configure()
    return graph


def _rest(graph: av.filter.Graph, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    graph.push(None)
    yield from _ready(graph, stream)


def _ready(graph: av.filter.Graph, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    while True:
        try:
            picture = cast("av.VideoFrame", graph.pull())
        except (av.BlockingIOError, av.EOFError):
            return
        if picture.pts is not None and picture.time_base and stream.time_base:
            picture.pts = round(picture.pts * picture.time_base / stream.time_base)  # the filter counts in halves
        yield picture
