"""The page for everyone: any text, any screen, by keyboard alone, light and dark."""

import itertools
from urllib.parse import urlencode

import pytest
from cli.tiny_models import SENTENCE
from serve.pages import Visit, until, written

DOORS = ("words", "heads", "steps", "layers", "what-if", "inside")


def test_dark_mode_and_its_key(visit: Visit) -> None:
    page = visit(dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert dark == "rgb(21, 21, 23)"
    page.keyboard.press("d")
    assert page.evaluate(ground) == "rgb(252, 251, 247)"
    page.keyboard.press("d")
    assert page.evaluate(ground) == dark


def test_a_narrow_screen_is_used_by_touch_and_never_scrolls_sideways(visit: Visit) -> None:
    page = visit(width=360, height=740, touch=True)
    assert page.get_by_label("Model", exact=True).bounding_box()["width"] > 100  # a name can be read
    page.locator(".word", has_text="because").tap()
    until(page, "document.querySelector('.ask').textContent.includes('“because”')")
    page.wait_for_selector(".check")
    for door in (*DOORS, "spotlight", "network", "next-word", "recurrent"):
        page.locator(f"[data-door={door}]").tap()
        page.wait_for_selector(f"[data-view={door}] :is(.note, .told)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, door
    told = page.locator(".told").inner_text()
    page.get_by_role("button", name="a step on").tap()
    assert page.locator(".told").inner_text() != told
    words = page.evaluate(
        "[...document.querySelectorAll('.race-word')].map(word => word.getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.top])"
    )
    assert all(left > right or below > top for (_, right, top), (left, _, below) in itertools.pairwise(words))
    # The sentence is smaller above a door, and its arcs still stand on its words.
    begins, word = page.evaluate(
        """[Number(document.querySelector(".paper .beams path").getAttribute("d").match(/[\\d.]+/)[0]),
            (([box, home]) => (box.left + box.right) / 2 - home.left)(
                [".word.asked", ".paper"].map((part) => document.querySelector(part).getBoundingClientRect()))]"""
    )
    assert begins == pytest.approx(word, abs=1)


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)><script>document.title='taken'</script> and a word",
        "שלום עולם טוב מאד היום",
        "猫が 好き です 🐈👩‍👩‍👧 ok",
        "word " * 45,
    ],
    ids=["markup", "right to left", "Chinese and emoji", "long"],
)
def test_text_is_only_ever_text(visit: Visit, text: str) -> None:
    page = visit("#" + urlencode({"text": text, "door": "words", "method": "attention"}))  # the quickest
    page.wait_for_selector(".room canvas")
    assert written(page).startswith(text)
    assert page.title() == "limelight"
    assert page.locator("img, .sentence script").count() == 0


def test_every_control_has_a_name_and_is_reached_by_keyboard(visit: Visit) -> None:
    page = visit("#door=words")
    page.wait_for_selector(".room canvas")
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, input, select, textarea, canvas")].filter((e) =>
            !(e.getAttribute("aria-label") || e.textContent.trim() || e.title || e.labels?.length)).length"""
    )
    assert nameless == 0
    page.locator(".beneath summary").click()
    page.locator(".brand").click()
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.className"))
    assert {"sentence", "small", "row", "door"} <= seen
    page.keyboard.press("Escape")
    page.locator(".brand").click()
    page.keyboard.press("?")
    assert page.locator("dialog[open]").inner_text().startswith("Keys")
    assert SENTENCE in page.locator(".sentence").evaluate(
        "e => [...e.children].map(p => p.firstChild.textContent).join('')"
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_barrier(visit: Visit, dark: bool) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(dark=dark)

    def check(state: str) -> None:
        found = axe.run(page)
        barriers = [
            (rule["id"], [node["html"][:160] for node in rule["nodes"]]) for rule in found.response["violations"]
        ]
        assert barriers == [], state

    check("the first screen")
    for door in (*DOORS, "spotlight", "network", "next-word"):
        page.locator(f"[data-door={door}]").click()
        page.wait_for_selector(f"[data-view={door}] :is(.note, .told)")
        check(door)
    page.keyboard.press("Escape")
    page.locator(".beneath summary").click()
    page.locator(".how summary").click()
    for key, name in (("?", "help"), ("x", "shared")):
        page.keyboard.press(key)
        page.wait_for_selector(f".{name}[open]")
        check(name)
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Ask it").click()
    page.wait_for_selector(".talking .talk")
    check("a conversation")
