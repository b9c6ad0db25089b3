"""Errors as the API's clients expect them: a status, and an object that says what and where."""

from typing import Any

from limelight.errors import LimelightError
from limelight.serve.reply import sentence
from limelight.serve.runner import BusyError


class ApiError(Exception):
    """What goes back in place of an answer.

    status: of HTTP. param: which parameter is to blame. code: for programs that tell errors apart. retry: seconds after
    which asking again makes sense.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.retry = retry

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        kind = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}.get(self.status)
        kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What is sent in front of it."""
        return {} if self.retry is None else {"retry-after": str(self.retry)}


def api_error(error: Exception) -> ApiError:
    """Any error as one of the API: what limelight refuses is the caller's to mend, anything else a defect of ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BusyError):
        return ApiError(str(error), status=503, code="server_overloaded", retry=error.retry)
    return ApiError(sentence(error), status=400 if isinstance(error, LimelightError) else 500)


def unsupported(param: str, why: str) -> ApiError:
    """A parameter that this server or this model does not know to honour."""
    return ApiError(f"{param} {why}", param=param, code="unsupported_parameter")
