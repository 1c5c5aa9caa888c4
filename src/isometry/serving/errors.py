"""Everything that goes wrong, in the shape that OpenAI's clients understand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# What a status says by itself, where nothing better is known.
_MESSAGES = {
    404: "There is no such address; /openapi.json lists all.",
    405: "This address does not take this method.",
    500: "Something went wrong in the server; its log says more under this request's id.",
}


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str = Field(examples=["There is no model 'nope'."])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=["model"])
    code: str | None = Field(examples=["model_not_found"])


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class ApiError(HTTPException):
    """An error that the client is told about; its message must hold nothing of the server's.

    Args:
        status: The HTTP status.
        message: For people.
        param: The part of the request that is wrong.
        code: For programs.
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> ErrorBody:
        """What it says."""
        return error_body(self.status_code, self.message, param=self.param, code=self.code)

    def response(self) -> Response:
        """The answer."""
        return error_response(
            self.status_code, self.message, param=self.param, code=self.code, headers=self.headers
        )


def invalid(message: str, param: str | None, code: str = "invalid_value") -> ApiError:
    """A request that can never be answered as it is."""
    return ApiError(400, message, param=param, code=code)


def busy(message: str, seconds: float, code: str, status: int = 429) -> ApiError:
    """A request that can be answered later."""
    return ApiError(
        status, message, code=code, headers={"Retry-After": str(max(1, round(seconds)))}
    )


def error_response(
    status: int,
    message: str = "",
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error as an answer."""
    return Response(
        to_json(error_body(status, message, param=param, code=code)),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def error_body(
    status: int, message: str = "", *, param: str | None = None, code: str | None = None
) -> ErrorBody:
    """What an error says."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    text = message or _MESSAGES.get(status, "This cannot be answered.")
    detail = ErrorDetail(message=text, type=kind, param=param, code=code)
    return ErrorBody(error=detail)


def http_error_response(error: HTTPException) -> Response:
    """The answer to an error of this server or of its framework."""
    if isinstance(error, ApiError):
        return error.response()
    # The framework's own words may repeat the request.
    return error_response(error.status_code, headers=error.headers)


def validation_error(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The error of a request of a wrong shape: names the place, repeats no value."""
    first = _most_telling(errors)
    # The first part says where it stands: in the body, the path or the query.
    place = [str(part) for part in first["loc"][1:] if not _is_branch(part)]
    param = ".".join(place) or None
    if first["type"] in ("model_attributes_type", "model_type", "dict_type") and not place:
        message = "The body must be a JSON object, sent with Content-Type: application/json."
    else:
        message = f"{param or 'The body'}: {first['msg']}."
    return invalid(message, param, first["type"])


def _is_branch(part: Any) -> bool:
    """Whether a part of a place is the name of a type in a union rather than a field."""
    return isinstance(part, str) and (part.startswith("<") or part in ("str", "TextDocument"))


def _most_telling(errors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of the complaints about each type of a union, the one that got furthest."""
    return max(errors, key=lambda error: len(error["loc"]))
