"""What a client did wrong, in OpenAI's error shape."""

from typing import Any

MAX_MESSAGE = 300
"""Characters of a message; the client's own values are quoted in it."""


class ApiError(Exception):
    """An answer with a status of 400 or more."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
        self.param = param
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON value that tells of it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }


def invalid(param: str | None, message: str) -> ApiError:
    """Return the error of a field with a wrong value."""
    return ApiError(400, "invalid_value", message, param=param)


def context_exceeded(param: str, num_tokens: str, context: int) -> ApiError:
    """Return the error of a prompt that is too long."""
    return ApiError(
        400,
        "context_length_exceeded",
        f"this model's context holds {context} tokens, but the prompt has {num_tokens}; shorten it",
        param=param,
    )
