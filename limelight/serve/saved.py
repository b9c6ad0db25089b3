"""One file that holds a look: the page's own views and their data, to be opened anywhere without a network."""

import base64
import hashlib
import json
import re
from importlib import resources
from typing import TYPE_CHECKING

from limelight.look import METHODS
from limelight.serve.looking import Looking, Numbers, shape

if TYPE_CHECKING:
    from limelight import Model
    from limelight.decode import Sampling
    from limelight.look.variants import Progress

ROOM = 4 << 20
"""Bytes of attention that a file may hold: of all layers if they fit, of the telling one if that does."""

PLACES = 200
"""Words for which a file holds what could have stood there."""


def look(
    model: "Model",
    text: str,
    *,
    word: int | None = None,
    against: str | None = None,
    method: str | None = None,
    progress: "Progress | None" = None,
) -> str:
    """The file for one question about a text, as HTML. word: counted from 0; the last one if None.

    Raises RequestError as `Seen.importance` does.
    """
    from limelight.decode import Sampling
    from limelight.look.record import twin
    from limelight.quant.linear import exactly

    looking = Looking(exactly(twin(model.network)), model.tokenizer, text)
    name = model.path.stem if model.name == str(model.path) else model.name
    about = {"name": name, "heads": shape(model.config), "context": model.config.context}
    return html(hold(looking, about, word, against, method, Sampling(0.8, 8, 0.9), progress=progress))


def hold(
    looking: Looking,
    about: Numbers,
    word: int | None,
    against: str | None,
    method: str | None,
    sampling: "Sampling",
    *,
    roles: Numbers | None = None,
    progress: "Progress | None" = None,
) -> Numbers:
    """What a file holds: the answer, what could stand in the places, attention, layers, and the steps of one head.

    about: name, heads and context of the model. roles: what its heads do, where that was measured.
    """
    importance = looking.importance(word, against, method, progress)
    asked, links, chosen = importance["word"], importance["links"], importance["method"]
    layer, head = (links[0]["layer"], links[0]["head"]) if links else (0, 0)
    words = looking.words()
    count = len(words["words"])
    size = 4 * count * count
    if size * sum(about["heads"]) <= ROOM:
        attention = [_text(layer.numpy().astype("<f4").tobytes()) for layer in looking.every_attention()]
    else:
        attention = [""] * len(about["heads"])
        if size * about["heads"][layer] <= ROOM:
            attention[layer] = _text(looking.attention(layer).numpy().astype("<f4").tobytes())
    places = sorted({*range(max(0, asked - PLACES), min(count, asked + PLACES)), asked})
    state = {"text": looking.seen.text, "word": asked, "foil": against, "method": chosen, "door": None}
    drawn = {"temperature": sampling.temperature, "k": sampling.top_k or 50, "p": sampling.top_p or 1, "seed": 0}
    return {
        "state": {**state, "layer": layer, "head": head, "model": None, **drawn},
        "model": {**about, "methods": [{"name": chosen, "title": METHODS[chosen].title}]},
        "words": words,
        "importance": importance,
        "next": {place: looking.next(place, sampling) for place in places},
        "attention": attention,
        "lens": looking.lens(asked),
        "steps": looking.steps(max(0, asked - 1), layer, head),
        "roles": roles,
    }


def html(data: Numbers) -> str:
    """One file with the views and `data`: it runs nothing but them, and its own policy lets it ask nobody.

    Modules in a file cannot import each other by path, so an import map gives each a name and its text.
    """
    folder = resources.files("limelight") / "web"
    modules = {}
    for file in folder.iterdir():
        if file.name.endswith(".js"):
            code = re.sub(r'from "\./(\w+\.js)"', r'from "limelight/\1"', file.read_text("utf-8"))
            modules[f"limelight/{file.name}"] = f"data:text/javascript;base64,{_text(code.encode())}"
    imports = json.dumps({"imports": modules})
    main = (
        'import { start } from "limelight/app.js"; import { saved } from "limelight/saved.js"; '
        'start(document.body, saved(JSON.parse(document.getElementById("data").textContent)));'
    )
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {_hash(imports)} {_hash(main)} data:"
    held = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no text can end the element it is in
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="content-security-policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>limelight</title>
<style>{(folder / "page.css").read_text("utf-8")}</style>
<script type="importmap">{imports}</script>
</head>
<body>
<script type="application/json" id="data">{held}</script>
<script type="module">{main}</script>
</body>
</html>
"""


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _hash(script: str) -> str:
    return f"'sha256-{_text(hashlib.sha256(script.encode()).digest())}'"
