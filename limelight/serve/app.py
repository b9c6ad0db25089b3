"""The page's server: its files, and the numbers behind them."""

from collections.abc import Callable
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from limelight.errors import LimelightError, RequestError
from limelight.serve.desk import Desk
from limelight.serve.guard import App, Guard
from limelight.serve.stream import Emit, lines, sentence

LONGEST = 100_000
"""Characters of the longest text."""

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Words = Annotated[str, Field(max_length=LONGEST)]
Word = Annotated[int, Field(ge=0, le=LONGEST)]
Small = Annotated[int, Field(ge=0, le=10_000)]


class Body(BaseModel):
    """What is asked; a field that nobody knows is an error."""

    model_config = ConfigDict(extra="forbid")


class Opening(Body):
    """The name of a listed model."""

    name: Annotated[str, Field(max_length=1000)]


class Text(Body):
    """A text as it was given, and what the model added to it, be it a translation. tokens: whether each token is taken
    for a word."""

    given: Words
    added: Words = ""
    tokens: bool = False


class Settings(Body):
    """How the next token is drawn."""

    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_k: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0


class Continue(Settings):
    """A text to be continued."""

    given: Words
    most: Annotated[int, Field(ge=1, le=512)] = 24


class Next(Text, Settings):
    """The place of a word, or behind the text."""

    word: Word | None = None


class Ask(Text):
    """A word in question; the last one if none is named. check: it may take longer than the answer itself."""

    word: Word | None = None
    against: Annotated[str, Field(max_length=200)] | None = None
    method: Annotated[str, Field(max_length=50)] | None = None
    check: bool = True


class Save(Ask, Settings):
    """What to keep in a file. title: what to call the model there."""

    title: Annotated[str, Field(max_length=1000)] = ""


class WhatIf(Body):
    """A text under a model without some heads, given as [layer, head], some layers, or positions. name: another model
    of the list. asked: the word in question, the last one that is spelled like that, else the last one."""

    text: Words
    asked: Annotated[str, Field(max_length=1000)]
    against: Annotated[str, Field(max_length=200)] | None = None
    method: Annotated[str, Field(max_length=50)] | None = None
    heads_off: Annotated[list[tuple[Small, Small]], Field(max_length=10_000)] = []
    layers_off: Annotated[list[Small], Field(max_length=1000)] = []
    positions: bool = True
    name: Annotated[str, Field(max_length=1000)] | None = None
    tokens: bool = False


class Layer(Text):
    """One layer's attention. head: of one head alone."""

    layer: Small
    head: Small | None = None


class Place(Text):
    """A word."""

    word: Word


class Follow(Place):
    """A word that is followed through one head, and the token it is looked at beside."""

    layer: Small
    head: Small
    other: Word | None = None


class Pair(Text):
    """A word that looks, and one that may be looked at."""

    source: Word
    target: Word


def make(desk: Desk, names: frozenset[str] = frozenset()) -> App:
    """The ASGI application around `desk`, guarded. names: hosts to answer to besides localhost and addresses."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(LimelightError, _refused)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(Exception, _failed)
    _files(app)
    _models(app, desk)
    app.include_router(_looks(desk))
    return Guard(app, names)


def _files(app: FastAPI) -> None:
    folder = resources.files("limelight") / "web"
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(tuple(TYPES))}

    @app.get("/")
    @app.get("/{name}")
    def file(name: str = "index.html") -> Response:
        if name not in files:
            return JSONResponse({"error": f"there is no {name} here"}, 404)
        kind = TYPES[f".{name.rpartition('.')[2]}"]
        return Response(files[name].read_bytes(), media_type=kind)


def _models(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/models")
    def models() -> dict[str, Any]:
        listed = [
            {"name": model.name, "title": model.title, "size": model.size, "here": model.path is not None}
            for model in desk.listed()
        ]
        return {"models": listed, "open": desk.about() if desk.is_open else None, "first": desk.name}

    @app.post("/api/open")
    def open(body: Opening) -> StreamingResponse:
        def work(emit: Emit) -> None:
            emit({"note": "waiting for the model"})
            desk.open(body.name, lambda done, total, note: emit({"done": done, "total": total, "note": note}))
            emit({"model": desk.about()})

        return _streamed(work)


def _looks(desk: Desk) -> APIRouter:
    """What is asked of the open model. `?model=NAME` says which one the asker takes that to be."""

    def expected(model: str | None = None) -> None:
        if model:
            desk.expect(model)

    router = APIRouter(prefix="/api", dependencies=[Depends(expected)])

    @router.post("/words")
    def words(body: Text) -> dict[str, Any]:
        return desk.seen(body.given, body.added, body.tokens).words()

    @router.post("/continue")
    def go_on(body: Continue) -> StreamingResponse:
        def work(emit: Emit) -> None:
            with desk.alone():
                for piece in desk.go_on(body.given, body.most, _sampling(body)):
                    emit({"piece": piece})

        return _streamed(work)

    @router.post("/next")
    def next(body: Next) -> dict[str, Any]:
        with desk.alone():
            return desk.seen(body.given, body.added, body.tokens).next(body.word, _sampling(body))

    @router.post("/importance")
    def importance(body: Ask) -> StreamingResponse:
        def work(emit: Emit) -> None:
            with desk.alone():
                emit({"done": 0, "total": 1})
                found = desk.seen(body.given, body.added, body.tokens).importance(
                    body.word,
                    body.against,
                    body.method,
                    lambda done, total: emit({"done": done, "total": total}),
                    body.check,
                )
            emit({"importance": found})

        return _streamed(work)

    @router.post("/translation")
    def translation(body: Text) -> StreamingResponse:
        def work(emit: Emit) -> None:
            with desk.alone():
                found = desk.translating(body.given, body.added)
                grid = found.grid(lambda done, total: emit({"done": done, "total": total}))
                told = found.alignment(grid)
            emit({"translation": told})

        return _streamed(work)

    @router.post("/attention")
    def attention(body: Layer) -> Response:
        """All heads of one layer, [H, N, N], or one head, [N, N]: little-endian float32, row by row."""
        with desk.alone():
            weights = desk.looking(body.given, body.added, body.tokens).attention(body.layer)
        if body.head is not None:
            if body.head >= len(weights):
                raise RequestError(f"there is no head {body.head}: layer {body.layer} has {len(weights)}")
            weights = weights[body.head]
        return Response(weights.numpy().astype("<f4").tobytes(), media_type="application/octet-stream")

    @router.post("/linking")
    def linking(body: Pair) -> dict[str, Any]:
        with desk.alone():
            return {"weights": desk.looking(body.given, body.added, body.tokens).linking(body.source, body.target)}

    @router.post("/roles")
    def roles() -> dict[str, Any]:
        with desk.alone():
            return desk.roles()

    @router.post("/lens")
    def lens(body: Place) -> StreamingResponse:
        def work(emit: Emit) -> None:
            with desk.alone():
                found = desk.looking(body.given, body.added, body.tokens).lens(
                    body.word, progress=lambda done, total: emit({"done": done, "total": total})
                )
            emit({"lens": found})

        return _streamed(work)

    @router.post("/steps")
    def steps(body: Follow) -> dict[str, Any]:
        with desk.alone():
            return desk.looking(body.given, body.added, body.tokens).steps(body.word, body.layer, body.head, body.other)

    @router.post("/what_if")
    def what_if(body: WhatIf) -> StreamingResponse:
        def work(emit: Emit) -> None:
            with desk.alone():
                emit({"done": 0, "total": 1})
                looking = desk.edited(
                    body.text, body.heads_off, body.layers_off, body.positions, body.name, body.tokens
                )
                place = looking.last(body.asked)
                found = looking.importance(
                    place, body.against, body.method, lambda done, total: emit({"done": done, "total": total})
                )
                next = looking.next(place, _sampling(Settings(temperature=1.0)))
            emit({"what_if": {"words": looking.words(), "importance": found, "next": next}})

        return _streamed(work)

    @router.post("/save")
    def save(body: Save) -> Response:
        from limelight.serve.saved import hold, hold_translation, html
        from limelight.serve.translating import Translating

        with desk.alone():
            seen = desk.seen(body.given, body.added, body.tokens)
            about = {**desk.about(), "name": body.title or desk.name}
            if isinstance(seen, Translating):
                data = hold_translation(seen, about, body.word, body.against, _sampling(body))
            else:
                roles = desk.roles() if desk.has_roles else None
                data = hold(seen, about, body.word, body.against, body.method, _sampling(body), roles=roles)
        return Response(html(data), media_type="text/html", headers={"content-disposition": "attachment"})

    return router


def _sampling(body: Settings) -> Any:
    from limelight.decode import Sampling

    return Sampling(body.temperature, body.top_k, body.top_p, seed=body.seed)


def _streamed(work: Callable[[Emit], None]) -> StreamingResponse:
    return StreamingResponse(lines(work), media_type="application/x-ndjson")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": sentence(error)}, 400)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": sentence(error)}, 500)


async def _misread(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return JSONResponse({"error": f"{place}: {first['msg']}"}, 400)
