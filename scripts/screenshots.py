"""Makes the pictures of the page in docs/pictures, with the default model and the Chromium on the path.

    python scripts/screenshots.py [--model MODEL] [--translator RUN]

The picture of a translation is made where a trained English–German translator is named.
Needs `pip install playwright` and a Chromium; nothing is downloaded but the model, if it is not here yet.
"""

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from limelight.checkpoints.catalog import default
from limelight.serve.app import make
from limelight.serve.run import address, listen
from limelight.serve.session import PageSession

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
CAT = "The cat sat on the mat because it was tired"
TIRED = f"{CAT}, so the"
DRINK = "Mary and John went to the shop. John gave a drink to"
DARK = {"color_scheme": "dark"}
NARROW = {"viewport": {"width": 360, "height": 740}}
STORE = "When Mary and John went to the store, John gave a drink to"
STORE_MARY = "When Mary and John went to the store, Mary gave a drink to"
CHASED = "The cat chased the mouse because it was hungry"
DOG = "A dog runs through the snow."
TALL = {"viewport": {"width": 1280, "height": 1180}}

PICTURES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "page": ({"text": TIRED, "seed": 2}, {}, ".check"),
    "page-dark": ({"text": DRINK, "seed": 4}, DARK, ".check"),
    "page-narrow": ({}, NARROW, ".check"),
    "spotlight": ({"text": TIRED, "door": "spotlight"}, TALL, ".told b"),
    "network": ({"text": TIRED, "door": "network"}, TALL, ".web"),
    "words": ({"text": CAT, "door": "words"}, TALL, ".room canvas"),
    "heads": ({"text": CAT, "door": "heads"}, TALL, ".roles b"),
    "steps": ({"text": CAT, "door": "steps"}, TALL, ".steps"),
    "layers": ({"text": CAT, "door": "layers"}, TALL, ".lens"),
    "what-if": ({"text": CHASED, "word": 8, "door": "what-if"}, TALL, ".compared .value"),
    "inside": ({"text": STORE, "door": "inside", "inside": "carries", "instead": STORE_MARY}, TALL, ".map"),
}
"""File name → what is on the page, how the browser looks at it, and what to wait for."""

TRANSLATED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "translation": ({"text": DOG, "door": "translation"}, TALL, ".room canvas"),
}
"""The same for a model that translates."""

CLICKS = {"what-if": (".both:has-text('cat')", ".both:has-text('mouse')", ".picked button")}
"""What is clicked on before the picture is made."""


@contextmanager
def served(model: str) -> Iterator[str]:
    """The address of a server with the model."""
    sock = listen("127.0.0.1", None)
    server = uvicorn.Server(uvicorn.Config(make(PageSession(model)), log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield address(sock, None)
    finally:
        server.should_exit = True
        thread.join()


def main() -> None:
    """Makes all pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=default())
    parser.add_argument("--translator", help="the folder of a training from English to German")
    options = parser.parse_args()
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        sys.exit("there is no Chromium on the path; on Debian: apt-get install chromium")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        take(browser, options.model, PICTURES)
        if options.translator:
            take(browser, options.translator, TRANSLATED)
        browser.close()


def take(browser: Any, model: str, pictures: dict[str, tuple[dict[str, Any], dict[str, Any], str]]) -> None:
    """Makes the pictures of one model."""
    with served(model) as home:
        for name, (state, look, ready) in pictures.items():
            page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **look})
            page.set_default_timeout(300_000)
            page.goto(f"{home}#{urlencode(state)}")
            for selector in (ready, ".check", ".word.added"):
                page.wait_for_selector(selector)
            for selector in CLICKS.get(name, ()):
                page.locator(selector).first.click()
            if name in CLICKS:
                page.wait_for_selector(".after .check")
            page.wait_for_timeout(1500)
            page.evaluate(
                "document.querySelector('.room').childElementCount && scrollTo(0, document.body.scrollHeight)"
            )
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()
            print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
