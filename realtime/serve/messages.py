"""What is said of frames and cameras, as JSON values."""

import json
from typing import Any

from realtime.cameras.camera import Camera
from realtime.results import Result
from realtime.sinks.jsonl import as_unicode
from realtime.structures import NO_PART, PARTS

CLOCK_RATE = 90_000
"""Units of a second in which video's timestamps are counted (RFC 3551)."""
MAX_BOXES = 100
"""Of a frame: the best are sent."""


def timestamp_of(result: Result) -> int:
    """The frame's time in units of ``CLOCK_RATE``, which belongs to its video frame and to its boxes."""
    return round(result.frame.pts_s * CLOCK_RATE)


def as_json(value: object) -> str:
    """JSON that can be sent as UTF-8."""
    return as_unicode(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def frame_message(camera: str, result: Result, timestamp: int, threshold: float) -> dict[str, Any]:
    """All that a viewer needs to draw a frame's boxes at any threshold.

    ``detections`` are those of the JSON lines and the candidates below the threshold, each with the number of its face
    and its part in it; ``shown`` are those that the server itself would draw: a face or feature that is held through
    weak frames has a lower score. ``timestamp`` is that of the video frame, in units of ``CLOCK_RATE``.
    """
    found = result.candidates[:MAX_BOXES]
    rows = zip(
        found.to_dicts(),
        found.face_ids.tolist(),
        found.parts.tolist(),
        ((found.scores >= threshold) | (found.parts != NO_PART)).tolist(),
        strict=True,
    )
    height, width = result.image.shape[:2]
    return {
        "camera": camera,
        "frame": result.frame.index,
        "pts_s": round(result.frame.pts_s, 6),
        "timestamp": timestamp,
        "captured_at_s": result.frame.captured_at_s,
        "size_wh": [width, height],
        "detections": [
            one | {"face": face, "part": PARTS[part] if part >= 0 else "", "shown": shown}
            for one, face, part, shown in rows
        ],
    }


def camera_message(camera: Camera) -> dict[str, Any]:
    """The state and the figures of a camera; its address is not part of it."""
    figures, latest = camera.figures.now(), camera.latest
    return {
        "name": camera.name,
        "state": str(camera.state),
        "status": camera.status,
        "size_wh": [latest.image.shape[1], latest.image.shape[0]] if latest else None,
        "frames": figures.frames,
        "dropped": figures.dropped,
        "faces": figures.faces,
        "faces_seen": figures.faces_seen,
        "frames_per_s": round(figures.frames_per_s, 2),
        "age_ms": round(figures.age_ms, 1),
        "infer_ms": round(figures.infer_ms, 2),
    }
