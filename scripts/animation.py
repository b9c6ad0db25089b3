"""Makes the animation at the top of the README, docs/pictures/page.webp, with the default model and the Chromium on the
path: a text is typed, goes on word by word, and the light follows the pointer.

    python scripts/animation.py [--model MODEL]

Needs `pip install playwright pillow` and a Chromium; nothing is downloaded but the model, if it is not here yet.
"""

import argparse
import io
import shutil
import sys
import time
from typing import Any

from screenshots import FOLDER, served

from limelight.checkpoints.catalog import default

TEXT = "The cat sat on the mat because it was tired, so the"
SIZE = {"width": 1120, "height": 560}
STILL = 90
"""Milliseconds between two frames while something moves."""


def main() -> None:
    """Makes the animation."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=default())
    options = parser.parse_args()
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        sys.exit("there is no Chromium on the path; on Debian: apt-get install chromium")
    with sync_playwright() as playwright, served(options.model) as home:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(300_000)
        page.goto(f"{home}#text=Write+something&seed=2")
        page.wait_for_selector(".check")
        save(filmed(page))
        browser.close()


def filmed(page: Any) -> list[tuple[bytes, int]]:
    """Pictures, and for how many milliseconds each is shown."""
    frames: list[tuple[bytes, int]] = []

    def take(shown: int) -> None:
        frames.append((page.screenshot(), shown))

    def watch(until: str, shown: int = STILL) -> None:
        """Takes pictures while something moves."""
        for _ in range(150):
            take(shown)
            if page.evaluate(until):
                return
            time.sleep(STILL / 1000)

    page.locator(".box").fill("")
    page.wait_for_selector(".blank")
    for end in [*range(0, len(TEXT), 3), len(TEXT)]:  # the page reads when the keys rest
        page.locator(".box").evaluate("(box, text) => (box.value = text)", TEXT[:end])
        take(STILL)
    page.locator(".box").fill(TEXT)
    page.wait_for_selector(".word.added")
    watch("document.querySelector('.choices') === null && document.querySelectorAll('.word.added').length > 3")
    page.wait_for_selector(".check")
    take(2600)
    for place in (9, 7, 6, 4):
        page.locator(f"#word-{place}").hover()
        page.wait_for_selector(f"#word-{place}.lit")
        for _ in range(3):
            take(STILL)
        take(900)
    page.mouse.move(5, 5)
    take(1500)
    return frames


def save(frames: list[tuple[bytes, int]]) -> None:
    """Writes them as one file, equal ones together."""
    from PIL import Image

    kept: list[tuple[bytes, int]] = []
    for picture, shown in frames:
        if kept and kept[-1][0] == picture:
            kept[-1] = picture, kept[-1][1] + min(shown, 60)
        else:
            kept.append((picture, shown))
    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture, _ in kept]
    file = FOLDER / "page.webp"
    shown = [shown for _, shown in kept]
    images[0].save(file, save_all=True, append_images=images[1:], duration=shown, loop=0, quality=72, method=4)
    print(file, f"{file.stat().st_size / 1e6:.2f} MB, {len(kept)} pictures")


if __name__ == "__main__":
    main()
