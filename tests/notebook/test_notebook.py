"""What a notebook shows of a look: as HTML, in a real browser without a network, and out of a notebook that ran."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.tiny_models import SENTENCE, trained

import limelight
from limelight.errors import RequestError
from limelight.look import Seen
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.recurrent import language_model
from limelight.notebook import page
from limelight.views.frame import display, framed
from limelight.views.saved import linked

EDITOR = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src https: http: data:; font-src https:; connect-src https:; child-src https: data:"
)
"""The policy that Visual Studio Code puts around outputs, which the frames in them inherit: the strictest one."""

Visit = Callable[[str], Any]


@pytest.fixture
def visit(chromium: Any, tmp_path: Path) -> Iterator[Visit]:
    """``visit(html)``: what is in the frame of an output, in a browser without a network, where nothing complains and
    nothing is asked for."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def visit(html: str) -> Any:
        file = tmp_path / "output.html"
        file.write_text(html, "utf-8")
        context = chromium.new_context(viewport={"width": 1000, "height": 800}, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url == file.as_uri() else complaints.append(request.url))
        page.goto(file.as_uri())
        frame = page.frame_locator("iframe")
        frame.locator(".check").wait_for()
        return frame

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


def around(html: str) -> str:
    """An output with nothing around it but the strictest policy."""
    return f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{EDITOR}"><body>{html}</body>'


class Untrusted(HTMLParser):
    """What is left of an output where frames, scripts and styles are taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "iframe"} & set(self.inside):
            self.text += data


def seen(tiny: Path, text: str = SENTENCE) -> Seen:
    model = limelight.open(tiny)
    assert isinstance(model, limelight.Model)
    return model.look(text)


def recurrent() -> Seen:
    """A look by a tiny recurrent model."""
    torch.manual_seed(0)
    tokenizer = trained()
    config = language_model(cell="gru", vocab=tokenizer.vocab, context=64, layers=2, width=16, dropout=0.0)
    network = build(config)
    assert isinstance(network, Decoder)
    return Seen(network, tokenizer, SENTENCE, display=display)


def test_a_look_made_by_hand_has_no_page_unless_it_is_given_one(tiny: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    by_hand = Seen(model.network, model.tokenizer, SENTENCE)
    assert by_hand._repr_html_() is None
    assert by_hand.what_if(heads_off=[(1, 2)])._repr_html_() is None
    shown = Seen(model.network, model.tokenizer, SENTENCE, "it", display=lambda *given: repr(given[2:]))
    assert shown._repr_html_() == repr((SENTENCE, "it"))


def test_a_look_displays_itself_without_a_server(tiny: Path) -> None:
    code = (
        "import sys, limelight; html = limelight.open(sys.argv[1]).look(sys.argv[2])._repr_html_(); "
        "assert 'iframe' in html; assert not {'fastapi', 'limelight.serve', 'limelight.notebook'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny), SENTENCE], check=True)


def test_a_look_displays_itself_and_answers_clicks_and_keys(visit: Visit, tiny: Path) -> None:
    look = seen(tiny)
    frame = visit(around(look._repr_html_()))
    found = look.importance()
    assert frame.locator(".ask").inner_text() == f"Which words made tiny say “{found.target.text}”?"
    assert frame.locator(".measured").count() == len(found.words) == 10
    told = frame.locator(".answer").inner_text()
    assert told == " ".join(found.told()[:2])
    for number, door in enumerate(["words", "heads", "steps", "layers", "what-if"], 1):
        frame.locator(f"[data-door={door}]").click()
        frame.locator(".room .note, .room .steps, .room .sides").first.wait_for()
        assert frame.locator(".room .error").count() == 0, number
    frame.locator("[data-door=what-if]").click()
    frame.locator(".sentence .word", has_text="mat").click()
    frame.locator(".replies .error").wait_for()
    assert f"answers for “{found.target.text}” only" in frame.locator(".replies .error").inner_text()
    for _ in range(5):
        frame.locator(".sentence").press("ArrowRight")
    frame.locator(".check").wait_for()


def test_a_page_answers_another_question(visit: Visit, tiny: Path) -> None:
    model = limelight.open(tiny)
    assert isinstance(model, limelight.Model)
    frame = visit(around(page(model, SENTENCE, word="it", foil="cat", method="alti-logit")._repr_html_()))
    assert frame.locator(".ask").inner_text() == "Why “it” and not “cat”?"
    assert frame.locator(".measured").count() == 7
    with pytest.raises(RequestError, match="no word is 'dog'"):
        page(model, SENTENCE, word="dog")


def test_text_is_only_ever_text(visit: Visit, tiny: Path) -> None:
    text = "' onload='x' \"></iframe><script>document.title='taken'</script> &amp; &#39; the cat"
    look = seen(tiny, text)
    frame = visit(around(look._repr_html_()))
    written = frame.locator(".sentence").evaluate(
        "sentence => [...sentence.children].map(part => part.firstChild.textContent).join('')"
    )
    assert written == look.ahead.text


def test_what_is_left_where_the_frame_is_taken_away(tiny: Path) -> None:
    parser = Untrusted()
    look = seen(tiny, "The <b> sat on")
    parser.feed(look._repr_html_())
    found = look.importance()
    assert parser.text == " ".join([f"Which words made tiny say “{found.target.text}”?", *found.told()])


def test_it_asks_nobody_and_stays_small(tiny: Path) -> None:
    short, long = (seen(tiny, text)._repr_html_() for text in (SENTENCE, " ".join([SENTENCE] * 30)))
    assert len(short) < 250_000
    assert len(long) < 3_000_000
    for html in (short, long):
        assert "sandbox='allow-scripts allow-forms'" in html
        assert re.search(r"<div style='height: [4-9]\d\dpx; [^']*'><iframe ", html)
        assert not re.search(r"(?:src|href)=[\"']?https?:|import\(|@import|url\(", html.replace("&#39;", "'"))


def test_nothing_to_show_is_said_in_a_sentence(tiny: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    shown = display(model.network, model.tokenizer, "cat " * 5000, "it")
    assert re.fullmatch("<p>the text has .* tokens and the model sees at most 4,096; shorten it</p>", shown)


def test_a_changed_model_is_not_shown_as_the_model(tiny: Path) -> None:
    assert "Which words made a changed tiny say" in seen(tiny).what_if(heads_off=[(1, 2)])._repr_html_()


def test_a_recurrent_model_is_shown_by_what_it_has(visit: Visit) -> None:
    frame = visit(around(recurrent()._repr_html_()))
    assert frame.locator(".ask").inner_text().startswith("Which words made the model say “")
    assert frame.locator(".measured").count() == 10
    assert frame.locator("[data-door=layers]").is_hidden()
    assert frame.locator(".door:visible, .deck-card:visible").all_inner_texts() == [
        "One by one, or all at once",
        "1What if",
    ]
    frame.locator("[data-door=recurrent]").click()
    frame.get_by_role("button", name="a step on").click()
    assert "has taken 2 steps, one behind the other" in frame.locator(".told").inner_text()


def test_all_of_the_page_fits_into_one_script() -> None:
    folder = resources.files("limelight") / "web"
    modules = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".js")}
    code = linked(modules, "".join(f'import {{ {name} }} from "./{name}.js";\n' for name in ("live", "saved", "wire")))
    main = linked(modules, modules["main.js"])
    assert not re.search(r"^ *(?:import|export)\b", code + main, re.M)
    assert main.index('modules["dom.js"] =') < main.index('modules["app.js"] =')


def test_quotes_and_ampersands_survive_the_attribute() -> None:
    held: list[str] = []

    class Frames(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            held.extend(value or "" for name, value in attrs if name == "srcdoc")

    document = "<p title='a' class=\"b\">&amp; &#39; ' \"</p>"
    Frames().feed(framed(document, "told"))
    assert held == [document]


def test_a_notebook_runs_and_its_export_opens_without_a_network(visit: Visit, tiny: Path, tmp_path: Path) -> None:
    for name in ("nbclient", "nbconvert", "ipykernel"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    cells = [f"import limelight\nmodel = limelight.open({str(tiny)!r})", f"model.look({SENTENCE!r})"]
    code = (
        "import nbformat, nbclient, nbconvert, sys\n"
        "from nbformat.v4 import new_notebook, new_code_cell\n"
        f"book = new_notebook(cells=[new_code_cell(cell) for cell in {cells!r}])\n"
        "nbclient.NotebookClient(book, kernel_name='python3', timeout=240).execute()\n"
        "assert set(book.cells[1].outputs[0].data) == {'text/html', 'text/plain'}\n"
        "open(sys.argv[1], 'w').write(nbconvert.HTMLExporter(template_name='basic').from_notebook_node(book)[0])\n"
    )
    file = tmp_path / "book.html"
    paths = os.pathsep.join(sys.path)  # the kernel is another process
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, env=environment, timeout=300)
    frame = visit(f"<!doctype html><meta charset='utf-8'><body>{file.read_text('utf-8')}</body>")
    assert frame.locator(".ask").inner_text().startswith("Which words made tiny say “")
    frame.locator(".sentence .word", has_text="cat").click()
    frame.locator(".replies .error").wait_for()
