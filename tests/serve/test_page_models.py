"""The page in a real browser with models of other kinds: translators and encoders."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from serve.pages import Visit, hold, until


def owing(route: Any, row: int, column: int) -> None:
    """Answers as the server does, but one word of the translation owes much to one of the source."""
    *before, last = route.fetch().text().splitlines()
    answer = json.loads(last)
    answer["translation"]["grid"][row][column] = 3.0
    route.fulfill(body="\n".join([*before, json.dumps(answer), ""]))


def test_a_word_of_the_source_is_replaced_and_translated_anew(visit: Visit, runs: Path) -> None:
    name, other = (str(runs / each) for each in ("transformer-modern-tiny", "lstm-attention"))
    page = visit("#" + urlencode({"text": "zwei kinder spielen im schnee .", "model": name, "door": "what-if"}))
    page.wait_for_selector(".room .note")
    assert page.get_by_role("button", name="switch off positions").count() == 0
    assert page.locator("span.both.added").count() > 0  # what the model said cannot be changed
    page.locator("button.both", has_text="schnee").click()
    page.locator(".picked input").fill("wald")
    page.keyboard.press("Enter")
    page.wait_for_selector(".after .shares tr")
    assert page.locator("[name=instead]").input_value() == "zwei kinder spielen im wald ."
    assert page.locator(".both.gone").first.inner_text().endswith("schnee")
    assert page.locator(".both.new").first.inner_text().endswith("wald")
    page.get_by_label("another model", exact=True).select_option(other)
    page.wait_for_selector(".off .chip >> nth=1")
    page.wait_for_selector(".after .shares tr")


@pytest.mark.parametrize(("name", "width"), [("transformer-modern-tiny", 1280), ("lstm-attention", 360)])
def test_a_translation_is_looked_at_from_both_sides(visit: Visit, runs: Path, name: str, width: int) -> None:
    behind = {"text": "zwei kinder spielen im schnee und ein hund läuft", "model": str(runs / name)}
    page = visit("#" + urlencode(behind), width=width)
    assert page.locator(".word.given").count() == 9
    assert page.locator(".word.added").count() > 3
    assert page.locator(".door:visible").all_text_contents() == ["1What if", "2Translation"]
    page.route("**/api/translation*", lambda route: owing(route, row=1, column=7))  # its second word to “hund”
    page.reload()  # it may have asked already
    until(page, "document.querySelectorAll('.word.added').length > 3 && document.querySelector('.check')")
    page.keyboard.press("2")
    page.wait_for_selector(".room canvas")
    assert page.locator(".room canvas").count() == 4
    assert page.locator(".room .said").nth(0).inner_text().startswith("“")
    page.locator(".word.added").first.click()
    until(page, "document.querySelector('.room .said').textContent.startsWith('“läuft” listens most to')")
    page.wait_for_selector(".check")
    before = page.locator(".room canvas").first.screenshot()
    page.locator(".word.given", has_text="hund").click()
    until(page, "document.querySelector('.ask').textContent.startsWith('What did')")
    # Whatever a model that was trained for seconds says in the second place.
    said = page.evaluate("document.querySelectorAll('.word.added')[1].firstChild.textContent")
    until(page, "document.querySelector('.answer').textContent.startsWith('“hund” mattered most for ')")
    until(page, f"document.querySelector('.answer').textContent.includes('{said} 20×')")  # first, if others owe less
    assert page.locator(".room canvas").first.screenshot() != before
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_saved_translation_opens_without_a_network(visit: Visit, runs: Path, tiny: Path, tmp_path: Path) -> None:
    page = visit("#" + urlencode({"text": "zwei kinder spielen im schnee", "model": str(runs / "lstm-attention")}))
    page.keyboard.press("2")
    page.wait_for_selector(".room canvas")
    with page.expect_download() as download:
        page.keyboard.press("s")
    file = tmp_path / "saved.html"
    download.value.save_as(file)
    kept = visit(file=file)
    kept.wait_for_selector(".room canvas")
    for selector in (".sentence", ".answer", ".check", ".next", ".room"):
        assert kept.locator(selector).inner_text() == page.locator(selector).inner_text()
    for side in (".word.given", ".word.added"):
        for each in (kept, page):
            each.locator(side).first.click()
        until(kept, f"document.querySelector('{side}.asked') !== null")
        until(page, f"document.querySelector('{side}.asked') !== null")
        assert kept.locator(".answer").inner_text() == page.locator(".answer").inner_text()
    assert kept.locator(".error").count() == 0
    page.get_by_label("Model", exact=True).select_option(str(tiny))  # what other tests find open
    page.wait_for_selector("[data-door=words]:visible")


def test_a_model_is_chosen_from_the_list(visit: Visit, runs: Path, tiny: Path) -> None:
    page = visit("#text=zwei+kinder+spielen+im+schnee")
    page.get_by_label("Model", exact=True).select_option(str(runs / "lstm-attention"))
    page.wait_for_selector(".word.added")
    page.wait_for_selector("[data-door=translation]:visible")
    page.get_by_label("Model", exact=True).select_option(str(tiny))
    page.wait_for_selector("[data-door=heads]:visible")
    page.wait_for_selector(".check")


def test_another_window_opens_another_model(visit: Visit, server: str, runs: Path, tiny: Path) -> None:
    page = visit()
    other = page.request.post(server + "api/open", data={"name": str(runs / "lstm-attention")})
    assert "model" in other.text()
    late = page.request.post(server + "api/words", params={"model": str(tiny)}, data={"given": "a"})
    assert late.status == 400
    assert "another window has put" in late.json()["error"]
    page.reload()  # opens what the other window chose
    page.wait_for_selector("[data-door=translation]:visible")


def test_what_was_asked_of_one_model_is_not_asked_of_the_next(visit: Visit, runs: Path) -> None:
    page = visit()
    held = hold(page, "**/api/next*")
    page.locator(".word", has_text="because").click()
    until(page, lambda: held)
    page.get_by_label("Model", exact=True).select_option(str(runs / "lstm-attention"))
    page.wait_for_selector("[data-door=translation]:visible")
    page.wait_for_selector(".word.added")
    until(page, lambda: held[0].request.failure == "net::ERR_ABORTED")


@pytest.mark.parametrize("kind", ["masked", "tags", "classes", "span", "near"])
def test_an_encoder_answers_in_the_same_light(visit: Visit, encoders: dict[str, str], kind: str) -> None:
    behind = {"text": "w10 w20 w30 w12 w14", "other": "w50", "model": encoders[kind]}
    page = visit("#" + urlencode(behind))
    whole = kind in ("classes", "span", "near")
    assert page.locator(".word").count() == 5 + whole
    assert page.locator(".word.asked.added").count() == whole  # the answer stands behind the text
    assert page.locator(".word.measured").count() >= 1
    assert page.locator(".error:visible").count() == 0
    assert page.locator(".other").is_visible() == (kind in ("span", "near"))
    if not whole:
        page.locator(".word", has_text="w20").click()
        until(page, "document.querySelector('.ask').textContent.includes('“w20”')")
        page.wait_for_selector(".check")
    if kind == "tags":
        label = page.locator(".word.asked .tag")
        assert label.bounding_box()["height"] < 20  # on one line
        assert page.locator(".answer").inner_text().startswith(f"The model labels “w20” “{label.inner_text()}” (")
    for door in ("heads", "words", "network"):
        page.locator(f"[data-door={door}]").click()
        page.wait_for_selector(f"[data-view={door}] .note")
        assert page.locator(".room .error").count() == 0
    page.locator("[data-door=what-if]").click()
    page.locator("[name=instead]").fill("w10 w60 w30 w12 w14")
    page.keyboard.press("Enter")
    page.wait_for_selector(".after .sides")
    assert page.locator(".compared ins").first.inner_text() == "w60"
