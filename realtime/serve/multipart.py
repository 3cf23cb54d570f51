"""JPEG frames over HTTP: for ``<img>`` and players, and for the page where WebRTC fails."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack

from starlette.responses import StreamingResponse

from realtime.serve.encoders import Encoded, VideoFormat
from realtime.serve.registry import Served

BOUNDARY = "frame"


def video_response(served: Served) -> StreamingResponse:
    """Motion JPEG."""

    async def parts() -> AsyncIterator[bytes]:
        with served.streams.watch(VideoFormat.JPEG) as frames:
            async for encoded in frames:
                yield _part("image/jpeg", encoded.data)

    return _response(parts(), "multipart/x-mixed-replace")


def page_response(cameras: Sequence[Served]) -> StreamingResponse:
    """Of several cameras, each frame as two parts: its boxes as JSON, and the JPEG that they belong to."""

    async def parts() -> AsyncIterator[bytes]:
        async for encoded in _merged(cameras):
            yield _part("application/json", encoded.message.encode()) + _part("image/jpeg", encoded.data)

    return _response(parts(), "multipart/mixed")


async def _merged(cameras: Sequence[Served]) -> AsyncIterator[Encoded]:
    """The newest frames of several cameras, in turn as they come."""
    with ExitStack() as stack:
        feeds = {served.camera.name: stack.enter_context(served.streams.watch(VideoFormat.JPEG)) for served in cameras}
        pending = {asyncio.ensure_future(feed.get()): name for name, feed in feeds.items()}
        try:
            while pending:
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    name = pending.pop(task)
                    encoded = task.result()
                    if encoded is not None:
                        yield encoded
                        pending[asyncio.ensure_future(feeds[name].get())] = name
        finally:
            for task in pending:
                task.cancel()


def _part(media_type: str, data: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data + b"\r\n"


def _response(parts: AsyncIterator[bytes], kind: str) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx, which would delay
    return StreamingResponse(parts, media_type=f"{kind}; boundary={BOUNDARY}", headers=headers)
