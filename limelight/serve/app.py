"""The page's server: its files, and the numbers behind them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from importlib import resources
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from limelight.errors import LimelightError, RequestError
from limelight.serve.bodies import (
    Ask,
    CameFrom,
    Continue,
    Conversation,
    Follow,
    Guesses,
    Inside,
    Layer,
    Next,
    Opening,
    Pair,
    Place,
    Reply,
    Save,
    Settings,
    Steer,
    Text,
    Toward,
    WhatIf,
)
from limelight.serve.guard import App, Guard
from limelight.serve.races import measured
from limelight.serve.reply import Answer, Json, Lines, sentence
from limelight.serve.session import PageSession
from limelight.serve.worker import Emit, Line
from limelight.views.numbers import dumps

REPETITION = 1.1
"""How mildly answers are kept from repeating themselves, as in `limelight chat`."""

P = ParamSpec("P")
T = TypeVar("T")

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def make(session: PageSession, names: frozenset[str] = frozenset()) -> App:
    """The ASGI application around `session`, guarded. names: hosts to answer to besides localhost and addresses."""
    return Guard(application(session), names)


def application(session: PageSession) -> FastAPI:
    """The same, for somebody else to guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, default_response_class=Json)
    app.add_exception_handler(LimelightError, _refused)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(Exception, _failed)
    _files(app)
    _models(app, session)
    app.include_router(_looks(session))
    return app


def _files(app: FastAPI) -> None:
    folder = resources.files("limelight") / "web"
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(tuple(TYPES))}

    @app.get("/")
    @app.get("/{name}")
    def file(name: str = "index.html") -> Response:
        if name not in files:
            return Json({"error": f"there is no {name} here"}, 404)
        kind = TYPES[f".{name.rpartition('.')[2]}"]
        return Response(files[name].read_bytes(), media_type=kind)


def _models(app: FastAPI, session: PageSession) -> None:
    @app.get("/api/models")
    def models() -> dict[str, Any]:
        listed = [
            {"name": model.name, "title": model.title, "size": model.size, "here": model.path is not None}
            for model in session.listed()
        ]
        return {"models": listed, "open": session.about() if session.is_open else None, "first": session.name}

    @app.post("/api/race")
    def race() -> dict[str, Any] | None:
        return measured()

    @app.post("/api/open")
    async def open(body: Opening) -> Response:
        def work(emit: Emit) -> None:
            session.open(body.name, lambda done, total, note: emit({"done": done, "total": total, "note": note}))
            emit({"model": session.about()})

        return Lines(session.worker.lines(work, waiting=lambda: session.progress))


class Asker:
    """Answers about the open model. model: which one whoever asks takes that to be; checked when it is their turn."""

    def __init__(self, session: PageSession, model: str | None) -> None:
        self._session = session
        self._model = model

    def answer(self, work: Callable[[], Any]) -> Response:
        """What `work` returns, as JSON."""
        return self.data(lambda: dumps(work()).encode(), "application/json")

    def data(self, work: Callable[[], bytes | memoryview], media_type: str) -> Response:
        """The bytes that `work` returns."""

        return Answer(self._session.worker, self._expecting(work), media_type)

    def lines(self, work: Callable[[Emit], None]) -> Response:
        """What `work` emits."""

        return Lines(self._session.worker.lines(self._expecting(work)))

    def writing(self, begin: Callable[[], AsyncGenerator[Line, None]]) -> Response:
        """The lines of a text that is written, once `begin` has found out what to write."""

        async def lines() -> AsyncGenerator[Line, None]:
            async with aclosing(await self._session.worker.do(self._expecting(begin))) as written:
                async for line in written:
                    yield line

        return Lines(lines())

    def _expecting(self, work: Callable[P, T]) -> Callable[P, T]:
        def expected(*args: P.args, **kwargs: P.kwargs) -> T:
            if self._model:
                self._session.expect(self._model)
            return work(*args, **kwargs)

        return expected


def _looks(session: PageSession) -> APIRouter:
    """What is asked of the open model. `?model=NAME` says which one the asker takes that to be."""

    async def asker(model: str | None = None) -> Asker:
        return Asker(session, model)

    router = APIRouter(prefix="/api")

    @router.post("/words")
    async def words(body: Text, asked: Annotated[Asker, Depends(asker)]) -> Response:
        return asked.answer(lambda: session.views(*body.text).words())

    @router.post("/continue")
    async def go_on(body: Continue, asked: Annotated[Asker, Depends(asker)]) -> Response:
        return asked.writing(lambda: session.go_on(body.given, body.most, _sampling(body)))

    @router.post("/next")
    async def next(body: Next, asked: Annotated[Asker, Depends(asker)]) -> Response:
        return asked.answer(lambda: session.views(*body.text).next(body.word, _sampling(body)))

    @router.post("/importance")
    async def importance(body: Ask, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work(emit: Emit) -> None:
            emit({"done": 0, "total": 1})
            views = session.views(*body.text)
            if body.method is None and body.foil is None and (estimate := views.estimate(body.word)) is not None:
                emit({"estimate": estimate})
            emit({"importance": views.importance(body.word, body.foil, body.method, _telling(emit), body.check)})

        return asked.lines(work)

    @router.post("/every_importance")
    async def every_importance(body: Text, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work(emit: Emit) -> None:
            emit({"found": session.text_views(*body.text).every_importance(_telling(emit))})

        return asked.lines(work)

    @router.post("/translation")
    async def translation(body: Text, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work(emit: Emit) -> None:
            found = session.translation_views(body.given, body.added)
            emit({"translation": found.alignment(found.grid(_telling(emit)))})

        return asked.lines(work)

    @router.post("/answer")
    async def answer(body: Reply, asked: Annotated[Asker, Depends(asker)]) -> Response:
        sampling = replace(_sampling(body), repetition=REPETITION)
        return asked.writing(lambda: session.answer(body.turns, body.most, sampling))

    @router.post("/turns")
    async def turns(body: Conversation, asked: Annotated[Asker, Depends(asker)]) -> Response:
        return asked.answer(lambda: {"turns": session.conversation(body.turns).turns()})

    @router.post("/light")
    async def light(body: Conversation, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work(emit: Emit) -> None:
            emit({"found": session.conversation(body.turns).light(_telling(emit))})

        return asked.lines(work)

    @router.post("/came_from")
    async def came_from(body: CameFrom, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work(emit: Emit) -> None:
            emit({"done": 0, "total": 1})
            views = session.conversation(body.turns)
            emit({"found": views.came_from(body.part, body.of, _telling(emit))})

        return asked.lines(work)

    @router.post("/attention")
    async def attention(body: Layer, asked: Annotated[Asker, Depends(asker)]) -> Response:
        """All heads of one layer, [H, N, N], or one head, [N, N]: little-endian float32, row by row."""

        def work() -> memoryview:
            weights = session.attention(session.read_views(*body.text), body.layer)
            if body.head is not None:
                if body.head >= len(weights):
                    raise RequestError(f"there is no head {body.head}: layer {body.layer} has {len(weights)}")
                weights = weights[body.head]
            return weights.numpy().astype("<f4", copy=False).data.cast("B")

        return asked.data(work, "application/octet-stream")

    @router.post("/linking")
    async def linking(body: Pair, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work() -> dict[str, Any]:
            views = session.read_views(*body.text)
            return {"weights": views.linking(body.source, body.target)}

        return asked.answer(work)

    @router.post("/spotlights")
    async def spotlights(body: Toward, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work() -> dict[str, Any]:
            from limelight.views.cards import heads

            return {"heads": heads(session.text_views(*body.text).seen, body.toward)}

        return asked.answer(work)

    @router.post("/network")
    async def network(body: Text, asked: Annotated[Asker, Depends(asker)]) -> Response:
        return asked.answer(lambda: session.network(body.given))

    @router.post("/guesses")
    async def guesses(body: Guesses, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work() -> dict[str, Any]:
            views = session.edited(body.text, [], [], body.positions, None)
            return views.next(None, _sampling(Settings(temperature=1.0)))

        return asked.answer(work)

    @router.post("/roles")
    async def roles(asked: Annotated[Asker, Depends(asker)]) -> Response:
        return asked.answer(session.roles)

    @router.post("/lens")
    async def lens(body: Place, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work(emit: Emit) -> None:
            views = session.text_views(*body.text)
            emit({"lens": views.lens(body.word, progress=_telling(emit))})

        return asked.lines(work)

    @router.post("/inside")
    async def inside(body: Inside, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work(emit: Emit) -> None:
            from limelight.views.inside import inside

            emit({"done": 0, "total": 1})
            views = session.text_views(*body.text)
            changed, instead = body.changed, body.instead
            tell = _telling(emit)
            found = inside(views, body.kind, body.word, body.foil, changed=changed, instead=instead, progress=tell)
            emit({"inside": found})

        return asked.lines(work)

    @router.post("/steer")
    async def steer(body: Steer, asked: Annotated[Asker, Depends(asker)]) -> Response:
        return asked.answer(lambda: session.steered(body.text, body.word, body.vector, body.strength))

    @router.post("/steps")
    async def steps(body: Follow, asked: Annotated[Asker, Depends(asker)]) -> Response:
        def work() -> dict[str, Any]:
            views = session.text_views(*body.text)
            return views.steps(body.word, body.layer, body.head, body.other)

        return asked.answer(work)

    @router.post("/what_if")
    async def what_if(body: WhatIf, asked: Annotated[Asker, Depends(asker)]) -> Response:
        from limelight.views.text import TextViews

        def work(emit: Emit) -> None:
            emit({"done": 0, "total": 1})
            views = session.edited(
                body.text, body.heads_off, body.layers_off, body.positions, body.name, body.tokens, body.beside
            )
            if body.asked is None and isinstance(views, TextViews):
                views = views.ahead
            place = views.last(body.asked)
            next = views.next(place, _sampling(Settings(temperature=1.0)))
            for check in (False, True):  # the answer first: its check takes longer
                found = views.importance(place, body.foil, body.method, _telling(emit), check)
                emit({"what_if": {"words": views.words(), "importance": found, "next": next}})

        return asked.lines(work)

    @router.post("/save")
    async def save(body: Save, asked: Annotated[Asker, Depends(asker)]) -> Response:
        from limelight.views.encoded import EncodedViews
        from limelight.views.saved import hold, hold_translation, html
        from limelight.views.translation import TranslationViews

        def work() -> bytes:
            views = session.views(*body.text)
            about = {**session.about(), "name": body.title or session.name}
            if isinstance(views, TranslationViews):
                data = hold_translation(views, about, body.word, body.foil, _sampling(body))
            elif isinstance(views, EncodedViews):
                raise RequestError("what an encoder answers is not kept in files; limelight look prints it")
            else:
                roles = session.roles() if session.has_roles else None
                data = hold(views, about, body.word, body.foil, body.method, _sampling(body), roles=roles)
            return html(data).encode()

        answer = asked.data(work, "text/html")
        answer.headers["content-disposition"] = "attachment"
        return answer

    return router


def _telling(emit: Emit) -> Callable[[int, int], None]:
    return lambda done, total: emit({"done": done, "total": total})


def _sampling(body: Settings) -> Any:
    from limelight.decode import Sampling

    return Sampling(body.temperature, body.top_k, body.top_p, seed=body.seed)


async def _refused(request: Request, error: Exception) -> Json:
    return Json({"error": sentence(error)}, 400)


async def _failed(request: Request, error: Exception) -> Json:
    return Json({"error": sentence(error)}, 500)


async def _misread(request: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return Json({"error": f"{place}: {first['msg']}"}, 400)
