"""What a page works with: the one model that it has open, and the texts it looked at last."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limelight.errors import RequestError, suggestion
from limelight.serve.worker import MOST, Line, Worker, heed

if TYPE_CHECKING:
    from torch import Tensor

    from limelight import Embedder, EncoderModel, Model, Translator
    from limelight.checkpoints.source import Listed
    from limelight.decode import Sampling
    from limelight.models.api import Decoder
    from limelight.serve.runner import Runner
    from limelight.serve.steering import Steering
    from limelight.views.conversation import ConversationViews, Message
    from limelight.views.encoded import EncodedViews
    from limelight.views.text import TextViews
    from limelight.views.translation import TranslationViews

    Views: TypeAlias = TextViews | TranslationViews | EncodedViews
    Open: TypeAlias = "Opened | Translator | EncoderModel"

ROWS = 4
"""Texts that are written together."""

REMEMBERED = 8
"""Texts whose readings are kept: the one on the screen, and some to come back to."""

RUNS = Path("runs")
"""Where trainings are looked for: the folder that `limelight train` is mostly told to write to."""

ENCODER = "minilm"
"""The encoder that shows words which look both ways."""

Tell = Callable[[int, int, str], None]
"""``tell(done, total, note)`` while a model is opened."""


@dataclass
class Opened:
    """An open model that continues texts, its twin for looking, and what was found out about it. Both heed."""

    model: "Model"
    network: "Decoder"
    roles: dict[str, Any] | None = None

    @cached_property
    def steered(self) -> "Steering":
        """What saved vectors make of its texts."""
        from limelight.serve.steering import Steering

        return Steering(self.model)


class PageSession:
    """Opens models by the names of a fixed list, and keeps what the open one is asked for.

    worker: in whose thread all of this is called, except for what names and lists models.
    """

    def __init__(self, name: str, device: str = "cpu", dtype: str | None = None, worker: Worker | None = None) -> None:
        """name: what to open first; it may be a path, since whoever starts the server says it."""
        self.worker = worker or Worker()
        self.name = _spelled(name)
        self._device = device
        self._dtype = dtype
        self._first = name
        self._open: Open | None = None
        self._runner: Runner | None = None  # what the open one writes in
        self._own: Runner | None = None  # if it is nobody else's
        self._beside: tuple[str, Open] | None = None  # what the open one was compared with last
        self._views: OrderedDict[tuple[str, str, bool, str], Views] = OrderedDict()
        self._talk: tuple[tuple[tuple[str, str], ...], ConversationViews] | None = None
        self._heads: tuple[TextViews | EncodedViews, int, Tensor] | None = (
            None  # the last attention; it takes as much room as a model
        )
        self._encoder: Embedder | None = None  # beside the open model, for what only an encoder shows
        self._opening: tuple[int, int, str] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a model is open by now."""
        return self._open is not None

    @property
    def progress(self) -> dict[str, Any]:
        """What to tell those who wait."""
        done, total, note = self._opening or (0, 0, "waiting until the model is free")
        return {"done": done, "total": total, "note": note}

    def listed(self) -> "list[Listed]":
        """What may be opened: the model that the server was started with, then all that `limelight models` lists,
        then the trainings in `RUNS`. Their names can be written in UTF-8, which a file's name need not be."""
        from limelight.checkpoints.source import Listed, available

        found = available()
        found += [Listed(str(run), "", "", "", 0, run) for run in _runs()]
        if all(model.name != self._first for model in found):
            found.insert(0, Listed(self._first, "", "", "", 0, None))
        return [replace(model, name=_spelled(model.name), title=_spelled(model.title)) for model in found]

    def open(self, name: str, tell: Tell) -> None:
        """Opens a listed model in place of the one before, unless it is the one.

        Raises RequestError for a name that is not in the list, and whatever opening raises; the model before stays
        open then.
        """
        self._known(name)
        if self._open is None or name != self.name:
            self._set(self._opened(name, tell), name)

    def put(self, model: "Model | Translator", runner: "Runner | None" = None) -> None:
        """Puts a model that is open already in place of the one before; from then on its name is in the list.

        runner: what it writes in; None: one of the page's own.
        """
        self._first = model.name
        self._set(_looked_at(model), _spelled(model.name), runner)

    def _set(self, opened: "Open", name: str, runner: "Runner | None" = None) -> None:
        self._open, self._beside, self._heads, self._talk, self.name = opened, None, None, None, name
        self._views.clear()
        if self._own is not None:
            self._own.end()
        self._runner, self._own = runner, None

    def end(self, seconds: float) -> bool:
        """Gives everything up; whether all of it has ended after so many seconds."""
        if self._own is not None:
            self._own.end(seconds)
        return self.worker.end(seconds)

    def expect(self, name: str) -> None:
        """Raises RequestError if the open model is another one, since someone else has chosen it."""
        if name != self.name:
            raise RequestError(f"another window has put {self.name!r} in the place of {name!r}; reload this page")

    def _known(self, name: str) -> None:
        names = [model.name for model in self.listed()]
        if name not in names:
            raise RequestError(f"no model here is called {name!r}{suggestion(name, names)}")

    def _path(self, name: str) -> str:
        """What a name in the list is a spelling of."""
        real = (self._first, *map(str, _runs()))
        return next((path for path in real if _spelled(path) == name), name)

    def _opened(self, name: str, tell: Tell) -> "Open":
        import limelight

        def note(done: int, total: int, note: str) -> None:
            self._opening = done, total, note
            tell(done, total, note)

        self._opening = 0, 0, "opening the model"
        try:
            opened = limelight.open(self._path(name), device=self._device, dtype=self._dtype, progress=note)
            return _looked_at(opened)
        finally:
            self._opening = None

    def _now(self) -> "Open":
        if self._open is None:
            raise RequestError("no model is open yet; wait until it is, or choose another one")
        return self._open

    def go_on(self, given: str, most: int, sampling: "Sampling") -> AsyncGenerator[Line, None]:
        """What the open model adds to a text up to the end of the line, see `limelight.serve.writing`; a translation is
        one piece."""
        from limelight.serve.writing import written

        if (translator := _translator(self._now())) is not None:
            return _at_once([{"piece": found.text} for found in translator.translate([given])])
        model, runner = self._writing()
        return written(runner, model.tokenizer, model.encode(given, sink=True), most, sampling, ["\n"])

    def views(
        self, given: str, added: str = "", tokens: bool = False, ahead: bool = False, beside: str = ""
    ) -> "Views":
        """A text under the open model, or a source text and its translation; which costs next to nothing.

        tokens: whether it is cut into tokens instead of words. ahead: whether the word that the model says next stands
        behind it, which the model is asked for once; a translation has none. beside: what an encoder reads besides,
        see `EncodedViews`. Raises RequestError if no model is open.
        """
        from limelight.views.text import TextViews
        from limelight.views.translation import TranslationViews

        opened, key = self._now(), (given, added, tokens, beside)
        found = self._views.get(key)
        if found is None:
            if isinstance(opened, Opened):
                quick = opened.model.network
                found = TextViews(opened.network, opened.model.tokenizer, given, added, tokens, quick)
            elif (translator := _translator(opened)) is not None:
                found = TranslationViews(translator, given, added)
            else:
                found = _encoded(opened, given, beside)
            self._views[key] = found
            if len(self._views) > REMEMBERED:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        return found.ahead if ahead and isinstance(found, TextViews) else found

    def answer(self, messages: "Sequence[Message]", most: int, sampling: "Sampling") -> AsyncGenerator[Line, None]:
        """The open model's answer to a conversation, see `limelight.views.conversation.prompt`."""
        from limelight.serve.writing import written
        from limelight.views.conversation import prompt

        model, runner = self._writing()
        ids = prompt(model.tokenizer, messages, model.network.context)
        return written(runner, model.tokenizer, ids, most, sampling)

    def conversation(self, messages: "Sequence[Message]") -> "ConversationViews":
        """A conversation that ends with an answer, under the open model; the last one is kept."""
        from limelight.views.conversation import ConversationViews

        opened, key = self._continuing(), tuple((message["role"], message["content"]) for message in messages)
        if self._talk is None or self._talk[0] != key:
            model = opened.model
            self._talk = key, ConversationViews(opened.network, model.tokenizer, messages, model.network)
        return self._talk[1]

    def attention(self, views: "TextViews | EncodedViews", layer: int) -> "Tensor":
        """All heads of a layer in a text, see `TextViews.attention`; those asked for last are kept."""
        if self._heads is None or self._heads[:2] != (views, layer):
            self._heads = None
            self._heads = views, layer, views.attention(layer)
        return self._heads[2]

    def network(self, text: str) -> dict[str, Any]:
        """The strongest link between any two words of a text, under an encoder, which looks both ways, if `ENCODER` is
        on this machine, else under the open model; see `limelight.views.cards.network`."""
        import limelight
        from limelight.views.cards import network

        own = isinstance(self._now(), limelight.EncoderModel)
        if not own and self._encoder is None and any(model.name == ENCODER and model.path for model in self.listed()):
            self._encoder = limelight.open(ENCODER, kind=limelight.Embedder)
        other = None if own else self._encoder
        seen = other.look(text) if other else self.read_views(text, "").seen
        return {
            "model": ENCODER if other else None,
            "both": own or other is not None,
            "words": [word.text for word in seen.words],
            "weights": network(seen),
        }

    def text_views(
        self, given: str, added: str, tokens: bool = False, ahead: bool = False, beside: str = ""
    ) -> "TextViews":
        """A text under the open model, see `views`. Raises RequestError if none is open yet, or if it does not continue
        texts."""
        from limelight.views.text import TextViews

        found = self.views(given, added, tokens, ahead, beside)
        if not isinstance(found, TextViews):
            raise RequestError(f"this model {_does(self._now())}; open one that continues texts to look at this")
        return found

    def read_views(
        self, given: str, added: str, tokens: bool = False, ahead: bool = False, beside: str = ""
    ) -> "TextViews | EncodedViews":
        """A text under the open model, see `views`. Raises RequestError if none is open yet, or if it translates."""
        from limelight.views.translation import TranslationViews

        found = self.views(given, added, tokens, ahead, beside)
        if isinstance(found, TranslationViews):
            raise RequestError("this model translates texts; open one that reads a single text to look at this")
        return found

    def translation_views(self, source: str, target: str) -> "TranslationViews":
        """A source text and its translation. Raises RequestError if no model is open, or one that continues texts."""
        from limelight.views.translation import TranslationViews

        found = self.views(source, target)
        if not isinstance(found, TranslationViews):
            raise RequestError(f"this model {_does(self._now())}; open one that translates to look at this")
        return found

    def steered(
        self, text: tuple[str, str, bool, bool, str], word: int, vector: str | None, strength: float
    ) -> dict[str, Any]:
        """What comes at a word of a text with a saved vector, see `limelight.serve.steering`."""
        seen, _ = self.text_views(*text).before(word)
        return self._continuing().steered(seen.text, vector, strength)

    def edited(
        self,
        text: str,
        heads_off: Sequence[tuple[int, int]],
        layers_off: Sequence[int],
        positions: bool,
        name: str | None,
        tokens: bool = False,
        beside: str = "",
    ) -> "Views":
        """A text under the open model with parts switched off, or under another one of the list; where the open model
        translates, the text and what becomes of it.

        Raises RequestError for parts that it lacks, and for another model that is not listed, or that does not do with
        texts what the open one does.
        """
        from limelight.views.text import edited
        from limelight.views.translation import TranslationViews

        opened = self._now() if name is None or name == self.name else self._other(name)
        if not isinstance(opened, Opened):
            if heads_off or layers_off or not positions:
                raise RequestError(f"parts of a model that {_does(opened)} cannot be switched off here")
            if (translator := _translator(opened)) is None:
                return _encoded(opened, text, beside)
            return TranslationViews(translator, text, next(translator.translate([text])).text)
        return edited(
            opened.network,
            opened.model.tokenizer,
            text,
            heads_off=heads_off,
            layers_off=layers_off,
            positions=positions,
            tokens=tokens,
        )

    def _continuing(self) -> Opened:
        opened = self._now()
        if not isinstance(opened, Opened):
            raise RequestError(f"this model {_does(opened)}; open one that continues texts to look at this")
        return opened

    def _writing(self) -> "tuple[Model, Runner]":
        """The open model, and what it writes in."""
        from limelight.serve.runner import Runner

        model = self._continuing().model
        if self._runner is None:
            self._runner = self._own = Runner(model.network, rows=ROWS, waiting=MOST)
        return model, self._runner

    def _other(self, name: str) -> "Open":
        """A second model, which stays open until a third one is asked for."""
        if self._beside is None or self._beside[0] != name:
            self._known(name)
            opened = self._opened(name, lambda done, total, note: None)
            if (does := _does(opened)) != (ours := _does(self._now())):
                raise RequestError(f"{name} {does}; a text can be compared under models of which each {ours}")
            self._beside = name, opened
        return self._beside[1]

    @property
    def has_roles(self) -> bool:
        """Whether it is known by now what the heads do."""
        return isinstance(self._open, Opened) and self._open.roles is not None

    def roles(self) -> dict[str, Any]:
        """What the open model's heads do; measured once a model. Raises RequestError if none is open yet."""
        from limelight.views.text import roles

        opened = self._continuing()
        if opened.roles is None:
            opened.roles = roles(opened.network, opened.model.tokenizer)
        return opened.roles

    def about(self) -> dict[str, Any]:
        """The open model's name and shape. Raises RequestError if none is open yet."""
        import limelight
        from limelight.look.encoder import EncoderSession
        from limelight.look.importance import fitting
        from limelight.look.session import session
        from limelight.views.text import shape

        opened = self._now()
        config = opened.model.config if isinstance(opened, Opened) else opened.config
        heads = shape(config)
        methods = []
        if isinstance(opened, Opened):
            methods = fitting(session(opened.network, ()))
        elif isinstance(opened, limelight.EncoderModel):
            methods = fitting(EncoderSession(opened.network, ()))
        return {
            "name": self.name,
            "translates": _translator(opened) is not None,
            "reads": _reads(opened),
            "chats": isinstance(opened, Opened) and opened.model.tokenizer.template is not None,
            "heads": heads,
            "methods": [{"name": method.name, "title": method.title} for method in methods],
        }


def _looked_at(model: "Model | Translator | EncoderModel") -> "Open":
    import limelight
    from limelight.look.record import heedful, twin
    from limelight.models.api import Seq2Seq

    if isinstance(model, limelight.Translator):
        model = model.model or model  # a language model is looked at as one, whatever it has learnt
    if isinstance(model, limelight.EncoderModel):
        return replace(model, network=heedful(model.opened, heed, deep=True))
    if not isinstance(model, limelight.Model):
        assert isinstance(model.network, Seq2Seq)
        return replace(model, network=heedful(twin(model.network), heed, deep=True))
    running = replace(model, network=heedful(twin(model.network), heed, deep=False))
    return Opened(running, heedful(model.opened, heed, deep=True))


async def _at_once(lines: Iterable[Line]) -> AsyncGenerator[Line, None]:
    for line in lines:
        yield line


def _translator(opened: "Open") -> "Translator | None":
    import limelight

    return opened if isinstance(opened, limelight.Translator) else None


def _encoded(opened: "Open", text: str, beside: str) -> "EncodedViews":
    import limelight
    from limelight.views.encoded import EncodedViews

    assert isinstance(opened, limelight.EncoderModel)
    return EncodedViews(opened.network, opened.tokenizer, text, beside)


def _reads(opened: "Open") -> dict[str, Any] | None:
    """What an encoder does with a text, and what it needs besides."""
    import limelight
    from limelight.views.encoded import BESIDE, reads

    if not isinstance(opened, limelight.EncoderModel):
        return None
    kind = reads(opened.network)
    name, usual = BESIDE.get(kind, (None, None))
    return {"kind": kind, "beside": name, "usual": usual}


def _does(opened: "Open") -> str:
    """What a model does with texts, as a clause."""
    if isinstance(opened, Opened):
        return "continues texts"
    return "translates texts" if _translator(opened) else str(getattr(opened, "kind", "reads texts"))


def _runs() -> list[Path]:
    """The folders in `RUNS` that hold a training."""
    return sorted(file.parent for depth in ("*", "*/*") for file in RUNS.glob(f"{depth}/settings.toml"))


def _spelled(name: str) -> str:
    """A file's name in characters that UTF-8 can write: bytes that are no characters are written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
