"""What stands where on the page, on wide and on narrow screens."""

import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest

Visit = Callable[..., Any]


def strong(least: float, route: Any) -> None:
    """Answers as the server does, but each word lowers or raises the odds, by `least` or a multiple of it."""
    *before, last = route.fetch().text().splitlines()
    answer = json.loads(last)
    values = answer["importance"]["values"]
    answer["importance"]["values"] = [(-1) ** i * least * (1 + i) for i in range(len(values))]
    route.fulfill(body="\n".join([*before, json.dumps(answer), ""]))


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("text", ["我昨天在北京的一家小饭馆里吃了非常好吃的饺子", "a b c d e f g h i j k l m n o p"])
def test_numbers_of_narrow_words_do_not_overlap(visit: Visit, text: str, width: int) -> None:
    page = visit("#" + urlencode({"text": text}), width=width)
    page.route("**/api/importance*", partial(strong, 1))
    page.reload()
    page.wait_for_selector(".value")
    page.wait_for_selector(".check")  # nothing is asked for any more
    # In one step: a locator first finds and then measures, and the page may draw anew between the two.
    measure = """(texts) => [...document.querySelectorAll(texts)].map(value => value.getBoundingClientRect())
                 .map(box => [box.left, box.right, box.top])"""
    page.locator("[data-door=what-if]").click()
    page.wait_for_selector(".compared .value")
    for texts in (".sentence .value", ".compared .value"):
        boxes = page.evaluate(measure, texts)
        assert len(boxes) == len(text.replace(" ", ""))
        for (_, right, top), (left, _, below) in itertools.pairwise(boxes):
            assert left > right or below > top + 5, f"one number lies on the next: {texts}"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("x")
    boxes = sorted(page.evaluate(measure, ".share-picture text"), key=lambda box: (round(box[2]), box[0]))
    for (_, right, top), (left, _, below) in itertools.pairwise(boxes):
        assert left > right - 1 or abs(below - top) > 1, "one text of the picture lies on the next"


def test_every_door_is_on_a_narrow_screen(visit: Visit) -> None:
    page = visit("#door=words", width=360)
    boxes = [door.bounding_box() for door in page.locator(".door:visible").all()]
    assert len(boxes) == 6
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)


@pytest.mark.parametrize("width", [1280, 360])
def test_the_ring_around_the_sentence_leaves_its_neighbours_whole(visit: Visit, width: int) -> None:
    page = visit(width=width)
    page.locator(".sentence").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".check")
    reach = page.locator(".sentence").evaluate(
        """(sentence) => { const style = getComputedStyle(sentence);
        return parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset) }"""
    )
    ring, ask = page.locator(".sentence").bounding_box(), page.locator(".ask").bounding_box()
    tops = [part.bounding_box()["y"] for part in page.locator(".under > *:visible").all()]
    assert ring["y"] - reach >= ask["y"] + ask["height"]
    assert ring["y"] + ring["height"] + reach <= min(tops)


def test_the_answer_names_the_brightest_word(visit: Visit) -> None:
    page = visit("#method=gradient-input")
    values = [float(value.replace("−", "-")) for value in page.locator(".sentence .value").all_inner_texts()]
    named = [float(word.replace("−", "-")) for word in page.locator(".word.named .value").all_inner_texts()]
    assert named
    assert sorted(named, reverse=True) == sorted(values, reverse=True)[: len(named)]
    told = {text.strip("“”") for text in page.locator(".answer .plain").all_inner_texts()}
    assert told == set(
        page.locator(".word.named").evaluate_all("words => words.map(word => word.firstChild.textContent)")
    )


def test_what_did_nothing_has_no_number_and_no_colour(visit: Visit) -> None:
    page = visit()
    page.route("**/api/importance*", partial(strong, 1))
    page.reload()
    page.wait_for_selector(".value")
    values = page.locator(".sentence .value").all_inner_texts()
    assert values[:4] == ["2.7×", "7.4× more", "20×", "55× more"]
    assert page.locator(".word.raised").count() == page.locator(".word.lowered").count() == 5
    page.wait_for_selector(".check")
    page.unroute_all(behavior="wait")  # an answer that is still on its way would be cut off by the reload
    page.route("**/api/importance*", partial(strong, 0.01))
    page.reload()
    page.wait_for_selector(".check")
    assert page.locator(".measured").count() == 10
    assert page.locator(".value, .word.raised, .word.lowered").count() == 0
