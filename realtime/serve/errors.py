"""Errors as answers: JSON with one line that says what was expected."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class HttpError(Exception):
    """A request that is refused."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


def error_response(status: int, message: str, retry_after_s: int | None = None) -> Response:
    """The answer of a request that is refused."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="realtime"'
    return JSONResponse({"error": message}, status, headers=headers)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Turn an ``HttpError`` into its answer."""
    assert isinstance(error, HttpError)
    return error_response(error.status, error.message, error.retry_after_s)


async def on_framework_error(_request: Request, error: Exception) -> Response:
    """An unknown path or method."""
    assert isinstance(error, HTTPException)
    answer = error_response(error.status_code, error.detail.lower())
    answer.headers.update(error.headers or {})
    return answer
