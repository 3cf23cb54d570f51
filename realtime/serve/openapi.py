"""The description of the HTTP API (OpenAPI 3.1)."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from realtime.serve.limits import Limits

Schema = dict[str, Any]
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")


def description(limits: Limits) -> Schema:
    """The whole document."""
    try:
        number = version("facial-feature-rcnn")
    except PackageNotFoundError:
        number = "0"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "realtime serve",
            "version": number,
            "description": "Cameras with their faces, and detection in images. Where a token is needed, it goes into "
            "the header Authorization: Bearer TOKEN.",
        },
        "paths": _paths(limits),
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _paths(limits: Limits) -> Schema:
    image: Schema = {"schema": {"type": "string", "contentMediaType": "image/*"}}
    return {
        "/detect": {
            "post": {
                "summary": "Detect in an image",
                "description": f"The body is a JPEG, PNG or WebP file of at most {limits.upload_bytes} bytes and "
                f"{limits.upload_pixels} pixels. It is not stored.",
                "parameters": [
                    {
                        "name": "threshold", "in": "query", "description": "Lowest score; by default the server's",
                        "schema": {"type": "number", "minimum": 0, "maximum": 1},
                    },
                ],
                "requestBody": {"required": True, "content": dict.fromkeys(IMAGE_TYPES, image)},
                "responses": _answers("Result", 408, 413, 415, 422, 429),
            }
        },
        "/cameras": {"get": {"summary": "All cameras", "responses": _answers("Cameras")}},
        "/cameras/{name}": {
            "get": {"summary": "One camera", "parameters": [_NAME], "responses": _answers("Camera", 404)}
        },
        "/cameras/{name}/snapshot.jpg": {
            "get": {
                "summary": "The newest frame, without boxes",
                "parameters": [_NAME],
                "responses": {"200": {"description": "A JPEG", "content": {"image/jpeg": {}}}, **_errors(404, 503)},
            }
        },
        "/cameras/{name}/video.mjpg": {
            "get": {
                "summary": "Motion JPEG, for <img> and players",
                "parameters": [_NAME],
                "responses": {
                    "200": {"description": "Frames without end", "content": {"multipart/x-mixed-replace": {}}},
                    **_errors(404, 429),
                },
            }
        },
        "/cameras/{name}/webrtc": {
            "post": {
                "summary": "Watch over WebRTC",
                "description": "The offer receives one video; boxes come over the data channel 'results'.",
                "parameters": [_NAME],
                "requestBody": _OFFER,
                "responses": _answers("Answer", 404, 413, 422, 429),
            }
        },
        "/guests": {
            "post": {
                "summary": "Send the camera of a browser over WebRTC",
                "description": "The offer sends one video. The camera is there while it is connected, under a name "
                "that only this answer tells.",
                "requestBody": _OFFER,
                "responses": _answers("GuestAnswer", 413, 422, 429),
            }
        },
        "/streams": {
            "get": {
                "summary": "Frames and boxes of several cameras",
                "description": "Each frame is two parts: application/json with its boxes, then image/jpeg.",
                "parameters": [
                    {
                        "name": "camera", "in": "query", "required": True, "explode": True,
                        "schema": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    }
                ],
                "responses": {
                    "200": {"description": "Parts without end", "content": {"multipart/mixed": {}}},
                    **_errors(404, 422, 429),
                },
            }
        },
        "/events": {
            "get": {
                "summary": "Faces that appear and leave, cameras that are lost and come back",
                "description": "Server-sent events face_appeared, face_left, camera_live and camera_lost. After a "
                "reconnection, Last-Event-ID brings what was missed.",
                "parameters": [
                    {"name": "camera", "in": "query", "description": "Of this one only", "schema": {"type": "string"}}
                ],
                "responses": {
                    "200": {"description": "Events without end", "content": {"text/event-stream": {}}},
                    **_errors(404, 429),
                },
            }
        },
        "/health": {
            "get": {
                "summary": "Whether detection runs; needs no token",
                "security": [],
                "responses": {**_answers("Health"), "503": {"description": "It failed", **_content("Health")}},
            }
        },
        "/metrics": {
            "get": {
                "summary": "Figures for Prometheus",
                "responses": {"200": {"description": "Text", "content": {"text/plain": {}}}, **_errors(401)},
            }
        },
    }  # fmt: skip


def _content(schema: str) -> Schema:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _answers(schema: str, *errors: int) -> Schema:
    return {"200": {"description": schema, **_content(schema)}, **_errors(*errors)}


def _errors(*statuses: int) -> Schema:
    return {
        str(status): {"description": _REASONS[status], **_content("Error")} for status in (401, 403, 421, *statuses)
    }


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_REASONS = {
    401: "A token is needed",
    403: "A page of another site asked",
    404: "There is no such camera",
    408: "It did not arrive in time",
    413: "Too large",
    415: "No image of a known kind",
    421: "The server is not known under that name",
    422: "Not understood",
    429: "Too much at once",
    503: "No frame yet",
}
_NAME: Schema = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_BOX: Schema = {
    "type": "array",
    "items": _NUMBER,
    "minItems": 4,
    "maxItems": 4,
    "description": "x1, y1, x2, y2 in pixels",
}
_SIZE: Schema = {"type": ["array", "null"], "items": _INTEGER, "minItems": 2, "maxItems": 2}
_FEATURE = _object(box=_BOX, score=_NUMBER)
_SESSION = _object(type=_TEXT, sdp=_TEXT)
_OFFER: Schema = {
    "required": True,
    "content": {"application/json": {"schema": _object(type={"type": "string", "enum": ["offer"]}, sdp=_TEXT)}},
}
_CAMERA = _object(
    name=_TEXT,
    state={"type": "string", "enum": ["connecting", "live", "stalled", "lost", "ended", "failed"]},
    status={"type": "string", "description": "What is wrong; empty while all is well"},
    size_wh=_SIZE,
    frames=_INTEGER, dropped=_INTEGER, faces=_INTEGER, faces_seen=_INTEGER,
    frames_per_s=_NUMBER, age_ms=_NUMBER, infer_ms=_NUMBER,
)  # fmt: skip
_SCHEMAS: Schema = {
    "Error": _object(error=_TEXT),
    "Health": _object(status={"type": "string", "enum": ["ok", "failed"]}),
    "Result": _object(
        frame=_INTEGER,
        pts_s=_NUMBER,
        detections=_list(_object(label=_TEXT, score=_NUMBER, box=_BOX)),
        faces=_list(
            _object(id=_INTEGER, box=_BOX, score=_NUMBER, features={"type": "object", "additionalProperties": _FEATURE})
        ),
    ),
    "Camera": _CAMERA,
    "Cameras": _object(
        server_time_s={"type": "number", "description": "The clock of captured_at_s, in seconds"},
        model=_TEXT,
        provider=_TEXT,
        class_names=_list(_TEXT),
        threshold=_NUMBER,
        needs_token={"type": "boolean"},
        cameras=_list({"$ref": "#/components/schemas/Camera"}),
    ),
    "Answer": _SESSION,
    "GuestAnswer": _object(type=_TEXT, sdp=_TEXT, camera=_TEXT),
}
