"""From `limelight` typed to the first picture, each next word, arcs that swing, and scrolling:
``python -m benchmarks.page [--json] [--runs N]``.

A real Chromium is started anew for each run. Needs playwright and a Chromium on the path.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from statistics import median
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from benchmarks.decode import default_file
from benchmarks.report import Row, machine, table

FIRST_PICTURE = 4.0
"""Seconds within which the first picture has to be there."""

FRAMES = 60.0
"""Frames a second that a screen shows."""

NEXT_WORD = 0.05
"""Seconds within which each next word has to follow the one before."""

SWINGS = " ".join(["The cat sat on the mat because it was tired and hungry too ,"] * 2 + ["so the dog came back"])
"""Nearly as many words as have their arcs at hand for the pointer."""

WORDS = " ".join(["The cat sat on the mat because it was tired and hungry too ,"] * 37)  # 518 words
NAMES = {
    "sentence": "the sentence as words",
    "picture": "the first picture, a number under each word",
    "answer": "the answer, which words decide",
    "check": "the check of it",
}
SELECTORS = {"sentence": ".word", "picture": ".value", "answer": ".measured", "check": ".check"}

_SCROLL = """async (box) => {
    const along = box.matches(".scroll") ? "scrollLeft" : "scrollTop";
    const next = () => new Promise(requestAnimationFrame);
    const begin = await next();
    let now = begin, frames = 0;
    while (now - begin < 2000) {
        box[along] = (now - begin) % 1000;
        now = await next();
        frames++;
    }
    return (1000 * frames) / (now - begin);
}"""
"""Scrolls for two seconds and counts the frames that were drawn."""


_SWING = """async (box) => {
    const words = [...box.querySelectorAll(".word")], over = new PointerEvent("pointerover", { bubbles: true });
    const next = () => new Promise(requestAnimationFrame);
    const begin = await next();
    let now = begin, frames = 0;
    while (now - begin < 2000) {
        if (frames % 15 === 0) words[words.length - 1 - ((frames / 15) * 7) % 20].dispatchEvent(over);
        now = await next();
        frames++;
    }
    return (1000 * frames) / (now - begin);
}"""
"""Points at another word every quarter of a second, for two seconds, and counts the frames that were drawn."""


_CROSSED = "performance.getEntriesByType('resource').some((each) => each.name.includes('every_importance'))"
"""Whether all arcs are at hand. Playwright does not always tell when a stream has ended."""


@contextmanager
def typed(model: str) -> Iterator[tuple[str, float]]:
    """`limelight page` as somebody types it: the address that it prints, and when it was typed."""
    command = [sys.executable, "-u", "-m", "limelight", "page", "--model", model, "--no-browser"]
    # Python keeps what it compiled, as it does for everybody who does not forbid it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found is not None
        try:
            yield found[0], begin
        finally:
            process.send_signal(signal.SIGINT)


def first_picture(playwright: Any, model: str) -> dict[str, float]:
    """Seconds from typing to each of `SELECTORS`; the browser starts when limelight would start it."""
    seconds = {}
    with typed(model) as (address, begin):
        browser = launched(playwright)
        page = browser.new_page()
        page.goto(address)
        for name, selector in SELECTORS.items():
            page.wait_for_selector(selector, timeout=120_000)
            seconds[name] = time.perf_counter() - begin
        browser.close()
    return seconds


def scrolling(playwright: Any, model: str, runs: int) -> dict[str, list[float]]:
    """Frames a second while 512 words scroll: the sentence, and the picture of its words."""
    with typed(model) as (address, _):
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}#{urlencode({'text': WORDS, 'door': 'words', 'method': 'attention'})}")
        page.wait_for_selector(".room canvas", timeout=120_000)
        page.wait_for_selector(".value", timeout=120_000)
        found = {
            "scroll 512 words, sentence": [page.locator(".sentence").evaluate(_SCROLL) for _ in range(runs)],
            "scroll 512 words, arcs": [page.locator(".room .scroll").evaluate(_SCROLL) for _ in range(runs)],
        }
        browser.close()
    return found


def next_words(model: str) -> float:
    """Seconds from one next word to the one after it, as they leave the server: the median of a text."""
    with typed(model) as (address, _):
        for path, body in (("open", {"name": model}), ("continue", {"given": SWINGS, "temperature": 0.8, "most": 64})):
            request = Request(f"{address}api/{path}", json.dumps(body).encode(), {"content-type": "application/json"})
            with urlopen(request, timeout=120) as lines:
                times = [time.perf_counter() for _ in lines]
    return median(later - earlier for earlier, later in pairwise(times))


def swinging(playwright: Any, model: str, runs: int) -> list[float]:
    """Frames a second while arcs swing from word to word."""
    with typed(model) as (address, _):
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}#{urlencode({'text': SWINGS})}")
        for _ in range(1200):
            if page.evaluate(_CROSSED):
                break
            page.wait_for_timeout(100)
        else:
            sys.exit("the arcs of all words were not at hand within two minutes")
        found = [page.locator(".sentence").evaluate(_SWING) for _ in range(runs)]
        browser.close()
    return found


def launched(playwright: Any) -> Any:
    """A Chromium of its own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        sys.exit("there is no Chromium on the path; on Debian: apt-get install chromium")
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])


def measure(runs: int, model: str) -> dict[str, object]:
    """All rows; every figure is a median of `runs`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        times = []
        first_picture(playwright, model)  # which leaves what Python compiles
        for _ in range(runs):
            times.append(first_picture(playwright, model))
            print(", ".join(f"{NAMES[name]} {seconds:.1f} s" for name, seconds in times[-1].items()), file=sys.stderr)
        frames = scrolling(playwright, model, runs)
        frames["swing between words, arcs"] = swinging(playwright, model, runs)
    pace = next_words(model)
    rows = []
    for name, title in NAMES.items():
        seconds = median(each[name] for each in times)
        rows.append(Row(title, seconds, FIRST_PICTURE, "bar", FIRST_PICTURE / seconds, "s"))
    rows.append(Row("the next word", pace, NEXT_WORD, "bar", NEXT_WORD / pace, "s"))
    rows += [Row(name, median(each), FRAMES, "bar", median(each) / FRAMES, "frames/s") for name, each in frames.items()]
    return {
        "rows": [asdict(row) for row in rows],
        "best_s": min(each["picture"] for each in times),
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=5, help="runs of each figure")
    parser.add_argument("--model", help="another GGUF file than the default model's")
    options = parser.parse_args()
    result = measure(options.runs, options.model or default_file())
    print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
    main()
