"""The page in a notebook with the kernel behind it: every word, method, head and change of the model can be asked for.

The page is the one that `limelight` serves, and so is what answers it: the same application, called in the kernel
instead of over the network. A request goes from the page's frame to the widget around it and as a message to the
kernel; what the application sends goes back part by part.
"""

import asyncio
import threading
from collections.abc import Callable, MutableMapping
from importlib import resources
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from limelight.serve.app import make
from limelight.serve.guard import App
from limelight.serve.session import PageSession
from limelight.views.frame import HEIGHT
from limelight.views.saved import document

if TYPE_CHECKING:
    from limelight import Model, Translator

Part = MutableMapping[str, Any]


class Live(anywidget.AnyWidget):
    """The page as a widget. page: the document in its frame. height: in pixels."""

    _esm = (resources.files("limelight") / "web" / "notebook.js").read_text("utf-8")
    page = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(HEIGHT).tag(sync=True)

    def __init__(
        self, model: "Model | Translator", text: str, word: str | int | None, foil: str | None, method: str | None
    ) -> None:
        """The arguments are those of `limelight.notebook.live`."""
        session = PageSession(model.name)
        session.put(model)
        place = None if word is None else session.text_views(text, "").seen.place(word)
        state = {"text": text, "word": place, "foil": foil, "method": method}  # see `limelight/web/state.js`
        main = (
            'import { start } from "./app.js";\nimport { live } from "./live.js";\n'
            'import { FIRST } from "./state.js";\nimport { wire } from "./wire.js";\nwire();\n'
            'const state = JSON.parse(document.getElementById("data").textContent);\n'
            "start(document.body, { ...live(), state: { ...FIRST, ...state } });"
        )
        super().__init__(page=document(main, state))
        wire = Wire(make(session), self.send)
        self.on_msg(lambda _, message, buffers: wire.take(message))


class Wire:
    """Answers messages by calling an ASGI application, in a thread of its own: the kernel stays free meanwhile."""

    def __init__(self, app: App, send: Callable[[Part, list[bytes]], None]) -> None:
        """send: sends a part of an answer, and the bytes in it; called in that thread."""
        self._app = app
        self._send = send
        self._loop = asyncio.new_event_loop()
        self._running: dict[str, asyncio.Event] = {}  # by request; set when nobody waits for it any more
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def take(self, message: Part) -> None:
        """Takes a request, {"id", "path", "body"}, or that one has been given up, {"id", "gone"}."""
        self._loop.call_soon_threadsafe(self._taken, message)

    def _taken(self, message: Part) -> None:
        if "path" in message:
            self._running[message["id"]] = asyncio.Event()
            task = self._loop.create_task(self._answer(message["id"], message["path"], message.get("body")))
            task.add_done_callback(lambda task: self._ended(message["id"], task))
        elif gone := self._running.get(message["id"]):
            gone.set()

    def _ended(self, id: str, task: asyncio.Task[None]) -> None:
        del self._running[id]
        task.exception()  # the application has told it by an answer and logged it

    async def _answer(self, id: str, path: str, body: str | None) -> None:
        data = (body or "").encode()
        unread = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Part:
            if unread:
                return unread.pop()
            await self._running[id].wait()
            return {"type": "http.disconnect"}

        async def send(part: Part) -> None:
            if part["type"] == "http.response.start":
                self._send({"id": id, "status": part["status"]}, [])
            else:
                self._send({"id": id, "done": not part.get("more_body", False)}, [part["body"]] if part["body"] else [])

        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET" if body is None else "POST",
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(data)).encode()),
            ],
            "client": None,
            "server": None,
        }
        await self._app(scope, receive, send)
