"""The widget: the page in a real browser, and a kernel's side of the wire that answers it in this process."""

import base64
import json
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.tiny_models import SENTENCE

import limelight
from limelight import notebook
from limelight.errors import RequestError
from limelight.serve.session import PageSession

FRONT_END = """<!doctype html><meta charset="utf-8"><body><script type="module">
const { default: widget } = await import("data:text/javascript;base64,%s");
const model = {
  get: (name) => ({ page: %s, height: 700 })[name],
  send: (message) => toKernel(message),
  on: (name, does) => (window.fromKernel = (message, bytes) =>
    does(message, bytes.map((text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer)))),
};
widget.render({ model, el: document.body });
</script></body>"""
"""What a notebook does with a widget, and no more."""


@pytest.fixture
def model(tiny: Path) -> limelight.Model:
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    opened = limelight.open(tiny)
    assert isinstance(opened, limelight.Model)
    return opened


@pytest.fixture
def wire(model: limelight.Model) -> tuple[Any, Any]:
    """The kernel's end, and what it has sent."""
    from limelight.notebook.widget import Wire
    from limelight.serve.app import make

    session = PageSession(model.name)
    session.put(model)
    sent: Any = queue.Queue()
    return Wire(make(session), lambda part, buffers: sent.put((part, buffers))), sent


@pytest.fixture
def show(chromium: Any, wire: tuple[Any, Any], tmp_path: Path) -> Iterator[Callable[[Any], Any]]:
    """``show(widget)``: the frame of a widget, and ``until(condition)``, which hands answers on meanwhile."""
    kernel, sent = wire
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, offline=True)
    complaints: list[str] = []

    def show(widget: Any) -> Any:
        code = base64.b64encode(widget._esm.encode()).decode()
        file = tmp_path / "book.html"
        file.write_text(FRONT_END % (code, json.dumps(widget.page).replace("<", "\\u003c")), "utf-8")
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.expose_function("toKernel", kernel.take)
        page.goto(file.as_uri())
        frame = page.frame_locator("iframe")

        def until(condition: Callable[[Any], bool]) -> None:
            for _ in range(400):
                while not sent.empty():
                    part, buffers = sent.get()
                    page.evaluate(
                        "([part, bytes]) => fromKernel(part, bytes)",
                        [dict(part), [base64.b64encode(data).decode() for data in buffers]],
                    )
                if condition(frame):
                    return
                page.wait_for_timeout(50)
            raise AssertionError("never came true")

        return frame, until

    yield show
    context.close()
    assert complaints == []


def test_the_kernel_answers_for_any_word_and_any_change(show: Callable[[Any], Any], model: limelight.Model) -> None:
    frame, until = show(notebook.live(model, SENTENCE, word="it"))
    until(lambda frame: frame.locator(".check").count() == 1)
    assert frame.locator(".ask").inner_text() == "Which words made tiny say “it”?"
    assert frame.locator(".measured").count() == 7
    frame.locator(".sentence .word", has_text="mat").click()
    until(lambda frame: frame.locator(".measured").count() == 5 and frame.locator(".check").count() == 1)
    assert frame.locator(".answer").inner_text() == " ".join(model.look(SENTENCE).importance("mat").told()[:2])
    frame.locator("[data-door=words]").click()  # attention comes as bytes
    until(lambda frame: frame.locator(".room canvas").count() > 0)
    frame.locator("[data-door=what-if]").click()
    until(lambda frame: frame.get_by_role("button", name="switch off head").count() == 1)
    frame.get_by_role("button", name="switch off head").click()
    until(lambda frame: frame.locator(".after .shares").count() > 0)
    assert frame.locator(".error").count() == 0


def test_requests_are_answered_part_by_part_and_errors_in_a_sentence(wire: tuple[Any, Any]) -> None:
    kernel, sent = wire
    kernel.take({"id": "1", "path": "/api/importance", "body": json.dumps({"given": SENTENCE, "added": "", "word": 9})})
    parts = [sent.get(timeout=20)]
    while not parts[-1][0].get("done"):
        parts.append(sent.get(timeout=20))
    assert parts[0][0] == {"id": "1", "status": 200}
    lines = [json.loads(line) for line in b"".join(data for _, datas in parts for data in datas).splitlines()]
    assert len(lines) > 1
    assert lines[-1]["importance"]["word"] == 9
    kernel.take({"id": "2", "path": "/api/words", "body": json.dumps({"given": "", "added": ""})})
    assert sent.get(timeout=20)[0] == {"id": "2", "status": 400}
    assert "no words" in json.loads(sent.get(timeout=20)[1][0])["error"]


def test_work_ends_when_nobody_waits_for_it(wire: tuple[Any, Any]) -> None:
    kernel, sent = wire
    text = " ".join([SENTENCE] * 20)
    body = {"given": text, "added": "", "word": 199, "method": "leave-one-replaced"}
    kernel.take({"id": "1", "path": "/api/importance", "body": json.dumps(body)})
    assert sent.get(timeout=20)[0] == {"id": "1", "status": 200}
    kernel.take({"id": "1", "gone": True})
    kernel.take(
        {"id": "2", "path": "/api/linking", "body": json.dumps({"given": text, "added": "", "source": 5, "target": 2})}
    )
    ids = [sent.get(timeout=20)[0]["id"]]
    while ids[-1] != "2":  # it waits for the machine until the first has ended
        ids.append(sent.get(timeout=20)[0]["id"])
    assert len(ids) < 60


def test_a_widget_without_anywidget_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    opened = limelight.open(tiny)
    with pytest.raises(RequestError, match=r'pip install "limelight\[notebook\]"'):
        notebook.live(opened, SENTENCE)
