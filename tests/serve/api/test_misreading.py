"""What is said of a request that cannot be read, from what pydantic found wrong with it."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from limelight.errors import RequestError
from limelight.serve.api import app as api
from limelight.serve.runner import BusyError


def wrong(kind: str, *place: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "loc": ("body", *place), "msg": f"it is {kind}", **more}


def said(answer: Any) -> tuple[int, Any]:
    found = asyncio.run(answer)
    assert found.headers["content-type"] == "application/json"
    return found.status_code, json.loads(found.body)["error"]


@pytest.mark.parametrize(
    ("errors", "message", "param"),
    [
        ([wrong("missing", "prompt")], "prompt: it is missing", "prompt"),
        ([wrong("missing")], "the request: it is missing", None),
        ([wrong("json_invalid", 0, ctx={"error": "odd"})], "the request is not JSON: odd", None),
        ([wrong("json_invalid", 0)], "the request is not JSON: it ends too early", None),
        ([wrong("less", "a", "list[int]", 3, "str")], "a.3: it is less", "a.3"),  # kinds are no places
        ([wrong("less", "Message", "b_2")], "b_2: it is less", "b_2"),
        # Of the shapes that were tried the one that comes nearest: of the right kind, then deepest.
        ([wrong("int_type", "a", 1, 2), wrong("less", "a")], "a: it is less", "a"),
        ([wrong("less", "a"), wrong("less", "b", 1)], "b.1: it is less", "b.1"),
        ([wrong("str_type", "a"), wrong("int_type", "b", 1)], "b.1: it is int_type", "b.1"),
    ],
)
def test_the_nearest_of_what_is_wrong_is_told(errors: list[Any], message: str, param: str | None) -> None:
    status, error = said(api._misread(None, RequestValidationError(errors)))  # type: ignore[arg-type]
    assert status == 400
    assert error == {"message": message, "type": "invalid_request_error", "param": param, "code": None}


def test_a_field_that_nobody_knows_is_told_first_whatever_its_name() -> None:
    errors = [wrong("less", "a", 1, 2), wrong("extra_forbidden", "a", "Odd Name")]
    _, error = said(api._misread(None, RequestValidationError(errors)))  # type: ignore[arg-type]
    assert (error["message"], error["param"], error["code"]) == (
        "a.Odd Name is not known here; leave it out",
        "a.Odd Name",
        "unknown_parameter",
    )


def test_what_is_not_there_is_told_by_its_path() -> None:
    request: Any = SimpleNamespace(url=SimpleNamespace(path="/a"), method="PUT")
    for status, message in ((404, "there is no /a here"), (405, "PUT is not for /a"), (418, "a teapot")):
        answer = asyncio.run(api._lost(request, HTTPException(status, "a teapot", {"x-more": "1"})))
        assert (answer.status_code, answer.headers["x-more"]) == (status, "1")
        assert json.loads(bytes(answer.body))["error"]["message"] == message
    assert said(api._lost(request, HTTPException(404)))[0] == 404


def test_an_error_is_answered_with_what_it_says() -> None:
    busy = asyncio.run(api._failed(None, BusyError("full", 7)))  # type: ignore[arg-type]
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "7")
    status, error = said(api._failed(None, RequestError("no")))  # type: ignore[arg-type]
    assert (status, error["message"]) == (400, "no")
