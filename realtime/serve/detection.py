"""``POST /detect``: an image in, what was found in it out."""

import asyncio
import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from realtime.cameras.engine import Engine
from realtime.cameras.turns import TooManyJobsError
from realtime.image_structure import is_cut_short
from realtime.results import Result
from realtime.serve.errors import HttpError
from realtime.serve.image_size import size_of
from realtime.serve.limits import Limits, TooLargeError, read_body

DetectStill = Callable[[np.ndarray, float], Result]
"""Detects in an image uint8 (H,W,3) BGR at a threshold; called by a thread that may run the network."""


class Detection:
    """Decodes in a helping thread, and detects in turn with the cameras."""

    def __init__(self, engine: Engine, detect: DetectStill, threshold: float, limits: Limits) -> None:
        self._engine = engine
        self._detect = detect
        self._threshold = threshold
        self._limits = limits
        self._room = asyncio.Semaphore(limits.uploads)

    async def __call__(self, request: Request) -> Response:
        """Answer with the fields of a JSON line.

        Raises:
            HttpError: the body is no image, or too large, or too many wait already.
        """
        threshold = self._chosen_threshold(request.query_params.get("threshold"))
        async with self._room:
            data = await self._body(request)
            self._check_size(data)
            image = await asyncio.to_thread(_decoded, data)
            try:
                future = self._engine.submit(partial(self._detect, image, threshold))
            except TooManyJobsError as error:
                raise HttpError(429, "too many images wait already", retry_after_s=1) from error
            result = await asyncio.wrap_future(future)
        return JSONResponse(result.to_dict())

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._limits.upload_s):
                return await read_body(request, self._limits.upload_bytes)
        except TooLargeError as error:
            raise HttpError(413, f"the image exceeds {self._limits.upload_bytes} bytes") from error
        except TimeoutError as error:
            raise HttpError(408, f"the image did not arrive within {self._limits.upload_s:g} s") from error

    def _chosen_threshold(self, given: str | None) -> float:
        if given is None:
            return self._threshold
        try:
            threshold = float(given)
        except ValueError:
            threshold = math.nan
        if not 0 <= threshold <= 1:
            raise HttpError(422, "threshold: expected a number from 0 to 1")
        return threshold

    def _check_size(self, data: bytes) -> None:
        size_wh = size_of(data)
        if size_wh is None:
            raise HttpError(415, "expected a JPEG, PNG or WebP image as the body")
        if 0 in size_wh:
            raise HttpError(422, "the image is damaged")
        if size_wh[0] * size_wh[1] > self._limits.upload_pixels:
            raise HttpError(413, f"the image exceeds {self._limits.upload_pixels} pixels")


def _decoded(data: bytes) -> np.ndarray:
    if is_cut_short(data):
        raise HttpError(422, "the image is cut short")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise HttpError(422, "the image is damaged")
    image.flags.writeable = False
    return image
