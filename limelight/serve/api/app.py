"""The API's application: its paths, who may use them, and what becomes of errors."""

import asyncio
import hmac
import re
import secrets
from collections.abc import Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from limelight.errors import LimelightError
from limelight.serve.api import bodies as b
from limelight.serve.api.answers import Events, Object, Whole, encoded
from limelight.serve.api.chat import Chatting
from limelight.serve.api.completions import Completing
from limelight.serve.api.errors import ApiError, api_error
from limelight.serve.api.kept import Keep, Look, again, look
from limelight.serve.api.metrics import metrics
from limelight.serve.api.responses import Respond, Responding
from limelight.serve.api.shelf import Reader, Shelf, Writer
from limelight.serve.api.tokens import detokenize, tokenize
from limelight.serve.api.vectors import embeddings, rerank, score
from limelight.serve.api.writing import Writing
from limelight.serve.app import application
from limelight.serve.guard import App, Guard
from limelight.serve.session import PageSession
from limelight.serve.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_FIELD = re.compile(r"(?!(?:str|int|float|bool|list|none|text|function|json_schema|json_object)$)[a-z_0-9]+")
"""A part of an error's place that is a name in the request, and none of the kinds that pydantic tried there."""

LARGEST = 1 << 25
"""Bytes of the largest request."""


def make(
    shelf: "Callable[[], Shelf]",
    *,
    opened: "Callable[[Shelf], None]" = lambda shelf: None,
    failed: "Callable[[Exception], None]" = lambda error: None,
    keep: int = 0,
    page: bool = False,
    keys: Sequence[str] = (),
    names: frozenset[str] = frozenset(),
    origins: frozenset[str] = frozenset(),
) -> App:
    """The ASGI application.

    shelf: makes the models' shelf, in the event loop. opened: called with it when its first model is open; failed: with
    the error, if that cannot be opened. keep: how many requests are kept. page: whether the page about the first model
    is served, too. keys: one of them must be sent along; none: nobody is asked. names: hosts to answer to besides
    localhost and addresses. origins: other web pages that may ask ("*": all).
    """

    worker = Worker()  # whoever looks at a model, by the API or on the page, does so in its thread
    session = PageSession("", worker=worker) if page else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> "AsyncIterator[None]":
        try:
            found = app.state.shelf = shelf()
            await found.get(None)
        except Exception as error:
            failed(error)
            raise
        if session is not None:
            writer = await found.writer(None)
            writer.looking += 1  # as long as the page is there
            await worker.do(lambda: session.put(writer.model, writer.runner))
        opened(found)
        yield
        if session is not None:
            session.end(1.0)
        worker.end(1.0)
        found.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_exception_handler(ApiError, _failed)
    app.add_exception_handler(LimelightError, _failed)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(HTTPException, _lost)
    app.add_exception_handler(Exception, _failed)

    async def allowed(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if keys and not any(hmac.compare_digest(given.encode(), key.encode()) for key in keys):
            raise ApiError("the API key is missing or wrong", status=401, code="invalid_api_key")

    _open_to_all(app)
    dependencies = [Depends(allowed)]
    _paths(app, dependencies, Keep(keep), worker)
    if session is not None:
        app.mount("/", application(session))
    return Guard(app, names, LARGEST, origins, lambda why: ApiError(why).body["error"])


def _open_to_all(app: FastAPI) -> None:
    @app.get("/health")
    @app.get("/v1/health")
    async def health(request: Request) -> Response:
        shelf: Shelf = request.app.state.shelf
        models = {each.name: _state(each) for each in shelf.opened}
        alive = all(each.alive for each in shelf.opened)
        body: Object = {"status": "ok" if alive else "error", "models": models}
        if not alive:
            body["error"] = {"message": "an engine does not step", "type": "server_error", "param": None, "code": None}
        return Response(encoded(body), 200 if alive else 503, media_type="application/json")


def _state(model: Writer | Reader) -> Object:
    if isinstance(model, Reader):
        return {"alive": model.alive, "running": model.open}
    runner = model.runner
    counts = {"running": runner.running, "waiting": runner.waiting, "steps": runner.counts.steps}
    return {"alive": runner.alive, **counts}


def _paths(app: FastAPI, dependencies: list[Any], keep: Keep, worker: Worker) -> None:
    def shelf(request: Request) -> Shelf:
        found: Shelf = request.app.state.shelf
        return found

    async def writer(request: Request, name: str | None) -> Writer:
        """The model of that name. Raises ApiError if it has no place for another text."""
        found = await shelf(request).writer(name)
        found.runner.admit()
        return found

    def linked(writing: Writing, answer: Response) -> Response:
        """An answer that says where it can be looked into, if it can."""
        if keep.most:
            answer.headers["link"] = f'</v1/requests/{writing.id}/look>; rel="describedby"'
        return answer

    @app.get("/metrics", dependencies=dependencies)
    async def numbers(request: Request) -> Response:
        return PlainTextResponse(metrics(shelf(request)), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", dependencies=dependencies)
    @app.get("/models", dependencies=dependencies)
    async def models(request: Request) -> Object:
        return {"object": "list", "data": [_model(shelf(request), name) for name in shelf(request).names]}

    @app.get("/api/tags", dependencies=dependencies)
    async def tags(request: Request) -> Object:
        """The same, for clients of ollama."""
        since = datetime.fromtimestamp(shelf(request).began, UTC).isoformat()
        return {"models": [{"name": name, "model": name, "modified_at": since} for name in shelf(request).names]}

    @app.get("/v1/models/{name:path}", dependencies=dependencies)
    async def model(request: Request, name: str) -> Object:
        return _model(shelf(request), shelf(request).name(name))

    @app.post("/v1/completions", dependencies=dependencies)
    @app.post("/completions", dependencies=dependencies)
    async def completions(request: Request, body: b.Complete) -> Response:
        done = await asyncio.to_thread(Completing, _id("cmpl"), await writer(request, body.model), body)
        keep.put(done.writing, user=body.user)
        if body.stream:
            await done.writing.begin()
        return linked(done.writing, Events(done.stream()) if body.stream else Whole(done.whole))

    @app.post("/v1/chat/completions", dependencies=dependencies)
    @app.post("/chat/completions", dependencies=dependencies)
    async def chat(request: Request, body: b.Chat) -> Response:
        done = await asyncio.to_thread(Chatting, _id("chatcmpl"), await writer(request, body.model), body)
        keep.put(done.writing, done.shown, user=body.user, metadata=body.metadata)
        if body.stream:
            await done.writing.begin()
        return linked(done.writing, Events(done.stream()) if body.stream else Whole(done.whole))

    @app.post("/v1/responses", dependencies=dependencies)
    @app.post("/responses", dependencies=dependencies)
    async def responses(request: Request, body: Respond) -> Response:
        id = f"resp_{secrets.token_hex(12)}"
        done = await asyncio.to_thread(Responding, id, await writer(request, body.model), body)
        keep.put(done.chatting.writing, done.chatting.shown, user=body.user, metadata=body.metadata)
        if body.stream:
            await done.chatting.writing.begin()
        answer = Events(done.stream(), done=b"") if body.stream else Whole(done.whole)
        return linked(done.chatting.writing, answer)

    @app.post("/v1/embeddings", dependencies=dependencies)
    @app.post("/embeddings", dependencies=dependencies)
    async def embed(request: Request, body: b.Embed) -> Response:
        reader = await shelf(request).reader(body.model)
        return Whole(lambda: embeddings(reader, body))

    @app.post("/v1/rerank", dependencies=dependencies)
    @app.post("/rerank", dependencies=dependencies)
    async def order(request: Request, body: b.Rerank) -> Response:
        reader = await shelf(request).reader(body.model)
        return Whole(lambda: rerank(reader, body))

    @app.post("/v1/score", dependencies=dependencies)
    @app.post("/score", dependencies=dependencies)
    async def compare(request: Request, body: b.Score) -> Response:
        reader = await shelf(request).reader(body.model)
        return Whole(lambda: score(reader, body))

    @app.post("/tokenize", dependencies=dependencies)
    async def cut(request: Request, body: b.Tokenize) -> Response:
        model = await shelf(request).get(body.model)
        return Whole(lambda: tokenize(model, body))

    @app.post("/detokenize", dependencies=dependencies)
    async def join(request: Request, body: b.Detokenize) -> Response:
        model = await shelf(request).get(body.model)
        return Whole(lambda: detokenize(model, body))

    @app.get("/v1/requests", dependencies=dependencies)
    async def requests() -> Object:
        return {"object": "list", "data": keep.ids}

    @app.get("/v1/requests/{id}", dependencies=dependencies)
    async def kept(id: str) -> Response:
        return Response(encoded(keep.get(id).about()), media_type="application/json")

    @app.get("/v1/requests/{id}/look", dependencies=dependencies)
    async def looked(id: str, asked: Annotated[Look, Query()]) -> Response:
        found = keep.get(id)
        return Whole(lambda: look(found, asked, worker))

    @app.post("/v1/requests/{id}/replay", dependencies=dependencies)
    async def replay(id: str) -> Response:
        found = keep.get(id)
        return Whole(lambda: again(found))


def _id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


def _model(shelf: Shelf, name: str) -> Object:
    found: Object = {"id": name, "object": "model", "created": shelf.began, "owned_by": "limelight"}
    opened = next((each for each in shelf.opened if each.name == name), None)
    if isinstance(opened, Writer):
        found["max_model_len"] = opened.longest
    return found


async def _failed(request: Request, error: Exception) -> Response:
    found = api_error(error)
    return Response(encoded(found.body), found.status, found.headers, media_type="application/json")


async def _lost(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    why = {404: f"there is no {request.url.path} here", 405: f"{request.method} is not for {request.url.path}"}
    found = ApiError(why.get(error.status_code, str(error.detail)), status=error.status_code)
    return Response(encoded(found.body), found.status, dict(error.headers or {}), media_type="application/json")


async def _misread(request: Request, error: Exception) -> Response:
    """What pydantic says of a body, in one sentence; of the shapes that a value may have, the one it comes nearest."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    # A value that is of the right kind comes nearer than one that is not.
    first = max(
        errors,
        key=lambda each: (each["type"] == "extra_forbidden", not each["type"].endswith("_type"), len(each["loc"])),
    )
    unknown = first["type"] == "extra_forbidden"
    *way, last = first["loc"][1:] or ("",)
    steps = [part for part in way if isinstance(part, int) or _FIELD.fullmatch(part)]
    if unknown or isinstance(last, int) or _FIELD.fullmatch(last):  # what is not known may have any name
        steps.append(last)
    place = ".".join(map(str, steps))
    if first["type"] == "json_invalid":
        found = ApiError(f"the request is not JSON: {first.get('ctx', {}).get('error', 'it ends too early')}")
    elif unknown:
        found = ApiError(f"{place} is not known here; leave it out", param=place, code="unknown_parameter")
    else:
        found = ApiError(f"{place or 'the request'}: {first['msg']}", param=place or None)
    return Response(encoded(found.body), found.status, media_type="application/json")
