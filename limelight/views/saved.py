"""One file that holds a look: the page's own views and their data, to be opened anywhere without a network."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from limelight.decode import Sampling
from limelight.look import METHODS
from limelight.views import cards
from limelight.views.numbers import Numbers, dumps
from limelight.views.text import TextViews, shape
from limelight.views.translation import TranslationViews

if TYPE_CHECKING:
    from limelight import Model
    from limelight.look.session import Progress
    from limelight.models.config import ModelConfig

ROOM = 4 << 20
"""Bytes of attention that a file may hold."""

PLACES = 200
"""Words to either side for which a file holds what could have stood there."""

DRAWN = Sampling(0.8, 8, 0.9)
"""How the next word is drawn where nobody chose."""


def look(
    model: "Model",
    text: str,
    *,
    word: int | None = None,
    foil: str | None = None,
    method: str | None = None,
    progress: "Progress | None" = None,
) -> str:
    """The file for one question about a text, as HTML. word: counted from 0; what the model says next if None.

    Raises RequestError as `Seen.importance` does.
    """
    views = TextViews(model.opened, model.tokenizer, text, quick=model.network)
    return html(hold(views, about(model.title, model.config), word, foil, method, progress=progress))


def about(name: str, config: "ModelConfig") -> Numbers:
    """What a page says of a model."""
    return {"name": name, "heads": shape(config)}


def hold(
    views: TextViews,
    about: Numbers,
    word: int | None,
    foil: str | None,
    method: str | None,
    sampling: Sampling = DRAWN,
    *,
    roles: Numbers | None = None,
    room: int = ROOM,
    places: int = PLACES,
    progress: "Progress | None" = None,
) -> Numbers:
    """What a file holds: the answer, what could stand in the places, attention, layers, the steps of one head, and the
    cards where the text is short.

    word: its place; None: the one that the model says next, which then stands behind the text. about: name and heads of
    the model. roles: what its heads do, where that was measured. room: bytes of attention; of all layers if they fit,
    of the telling one if that does. places: words to either side for which there is what could have stood there. A
    recurrent model has neither heads nor layers that could be read like this.
    """
    if word is None:
        views = views.ahead
    importance = views.importance(word, foil, method, progress)
    asked, chosen, telling = importance["word"], importance["method"], importance["telling"] or {}
    layer, head = telling.get("layer", 0), telling.get("head", 0)
    words = views.words()
    count = len(words["words"])
    size = 4 * count * count
    walked = bool(about["heads"])
    if walked and size * sum(about["heads"]) <= room:
        attention = [_text(layer.numpy().astype("<f4").tobytes()) for layer in views.every_attention()]
    else:
        attention = [""] * len(about["heads"])
        if walked and size * about["heads"][layer] <= room:
            attention[layer] = _text(views.attention(layer).numpy().astype("<f4").tobytes())
    drawn = walked and all(attention) and count <= cards.MOST
    near = range(max(0, asked - places), min(count, asked + places + 1))
    state = {"text": views.seen.text, "word": asked, "foil": foil, "method": chosen, "door": None}
    settings = {"temperature": sampling.temperature, "k": sampling.top_k or 50, "p": sampling.top_p or 1, "seed": 0}
    return {
        "state": {**state, "layer": layer, "head": head, "model": None, **settings},
        "model": {**about, "methods": [{"name": chosen, "title": METHODS[chosen].title}]},
        "words": words,
        "importance": importance,
        "next": {place: views.next(place, sampling) for place in near},
        "attention": attention,
        "lens": views.lens(asked) if walked else None,
        "steps": views.steps(max(0, asked - 1), layer, head) if walked else None,
        "roles": roles,
        "cards": _cards(views, importance["named"]) if drawn else None,
    }


def _cards(views: TextViews, named: list[int]) -> Numbers:
    """What the cards draw that a file can hold; named: the places of the words that the answer hangs on."""
    words = [word.text for word in views.seen.words]
    network = {"model": None, "both": False, "words": words, "weights": _rounded(cards.network(views.seen))}
    heads = [{**head, "weights": _rounded(head["weights"])} for head in cards.heads(views.seen, named[:1])]
    return {"spotlights": heads, "network": network}


def _rounded(weights: list[list[float]]) -> list[list[float]]:
    """Shares as cards draw them."""
    return [[round(weight, 3) or 0 for weight in row] for row in weights]


def hold_translation(
    views: TranslationViews, about: Numbers, word: int | None, foil: str | None, sampling: Sampling = DRAWN
) -> Numbers:
    """What a file holds of a translation: the answer for each of its words, what could stand there, and the alignment.

    word: the one that the file opens at, of either text; foil: what it might have been instead.
    """
    words = views.words()
    first = sum(each["given"] for each in words["words"])
    places = range(first, len(words["words"]))
    answers = {place: views.importance(place, foil if place == word else None) for place in places}
    state = {"text": views.source, "word": word, "foil": foil, "method": None, "door": "translation"}
    return {
        "state": {**state, "layer": None, "head": None, "model": None, "temperature": 1, "k": 50, "p": 1, "seed": 0},
        "model": about,
        "words": words,
        "added": views.target,
        "answers": answers,
        "next": {place: views.next(place, sampling) for place in places},
        "translation": views.alignment(views.grid()),
    }


def html(data: Numbers) -> str:
    """One file with the views and `data`."""
    main = (
        'import { start } from "./app.js";\nimport { saved } from "./saved.js";\n'
        'start(document.body, saved(JSON.parse(document.getElementById("data").textContent)));'
    )
    return document(main, _short(data))


def document(main: str, data: Numbers) -> str:
    """A page that needs no other file: a module that imports the page's own, and in the element "data" what it reads.

    It runs nothing else, and its own policy lets it ask nobody.
    """
    held = dumps(data).replace("<", "\\u003c")  # no text can end the element it is in
    folder = resources.files("limelight") / "web"
    code = linked({file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".js")}, main)
    style = re.sub(_UNSTYLED, "", (folder / "page.css").read_text("utf-8"), flags=re.S)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {_hash(code)}; form-action 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="content-security-policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>limelight</title>
<style>{style}</style>
</head>
<body>
<script type="application/json" id="data">{held}</script>
<script type="module">{code}</script>
</body>
</html>
"""


def linked(modules: Mapping[str, str], main: str) -> str:
    """`main` and the modules that it needs as one script: each is a function that returns what it exports.

    Modules in one file cannot import each other by path, and not every place that shows a page lets it import text
    (an editor's notebook does not). The page's modules import by name or as a whole, and never in a circle; none has a
    text of several lines.
    """
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in done:
            code = link(modules[name])
            exports = re.findall(r"^export (?:async )?(?:function|const) (\w+)", code, re.M)
            code = re.sub(r"^export ", "", code, flags=re.M)
            done[name] = f'modules["{name}"] = (() => {{\n{code}\nreturn {{ {", ".join(exports)} }};\n}})();\n'

    def link(code: str) -> str:
        code = re.sub(_UNREAD, "", code, flags=re.M)
        for name in re.findall(_IMPORT, code, re.M):
            add(name[1])
        code = re.sub(_IMPORT, r'const \1 = modules["\2"];', code, flags=re.M)
        return re.sub(r"^const \* as ", "const ", code, flags=re.M)

    script = link(main)
    return f"const modules = {{}};\n{''.join(done.values())}{script}"


_UNREAD = r"""^[ \t]*//.*\n|^[ \t]+|(?<=[;,{})\]]) // [^"'`\n]*$"""
"""What no browser reads: comments and indentation."""

_UNSTYLED = r"/\*.*?\*/|[;\s]+(?=\})|\s+(?=\{)|(?<=[{};,:])\s+"
"""The same of a style sheet."""

_IMPORT = r'^import (.+) from "\./(\w+\.js)";$'


def _short(value: Any) -> Any:
    """Numbers with the seven digits that a float32 has."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list | tuple) else value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _hash(script: str) -> str:
    return f"'sha256-{_text(hashlib.sha256(script.encode()).digest())}'"
