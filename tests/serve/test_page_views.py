"""The page's cards and doors in a real browser, and the files that hold them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cli.tiny_models import SENTENCE
from serve.pages import Visit, hold, until, written

import limelight
from limelight.look import SteeringVector
from limelight.views.saved import look

DOORS = ("words", "heads", "steps", "layers", "what-if", "inside")


def test_six_cards_are_opened_and_stepped_by_key(visit: Visit) -> None:
    page = visit()
    titles = page.locator(".deck-card").all_inner_texts()
    assert len(titles) == 6
    for title in titles:
        page.keyboard.press("c")
        page.wait_for_selector(f".deck-card[aria-expanded=true]:has-text('{title}')")
        page.wait_for_selector(".card .drawing > *")
        steps = page.locator(".player [role=status]")
        before, told = steps.inner_text(), page.locator(".told").inner_text()
        page.keyboard.press(".")
        assert steps.inner_text() != before
        page.keyboard.press(",")
        assert (steps.inner_text(), page.locator(".told").inner_text()) == (before, told)
    assert page.locator(".path .here").count() == 1
    page.keyboard.press("c")  # around again
    page.get_by_role("button", name="▶ play").click()
    page.get_by_role("button", name="❚❚ pause").click()
    page.keyboard.press("Escape")
    until(page, "document.querySelector('.room').childElementCount === 0")


def test_each_door_opens_by_its_key_and_closes(visit: Visit) -> None:
    page = visit()
    for number, door in enumerate(DOORS, 1):
        page.keyboard.press(str(number))
        page.wait_for_selector(".room .note")
        assert page.locator(f"[data-door={door}]").get_attribute("aria-expanded") == "true"
        page.keyboard.press("Escape")
        until(page, "document.querySelector('.room').childElementCount === 0")


def test_a_closed_door_stays_closed_when_its_numbers_arrive(visit: Visit) -> None:
    page = visit()
    held = hold(page, "**/api/roles*")
    page.keyboard.press("2")
    page.wait_for_selector(".room .roles")
    until(page, lambda: held)
    page.keyboard.press("Escape")
    until(page, "document.querySelector('.room').childElementCount === 0")
    for route in held:
        route.abort() if route.request.failure else route.continue_()
    page.locator(".word", has_text="because").click()
    until(page, "document.querySelectorAll('.measured').length === 6")  # much was answered since
    assert page.locator(".room > *").count() == 0
    page.keyboard.press("2")
    page.wait_for_selector(".room .roles")


def test_layer_and_head_change_by_keyboard(visit: Visit) -> None:
    page = visit("#door=words&layer=0&head=0")
    until(page, "document.querySelector('.said')?.textContent.startsWith('Head 0 of layer 0')")
    before = page.locator(".long canvas").screenshot()
    page.keyboard.press("ArrowDown")
    until(page, "document.querySelector('.said').textContent.startsWith('Head 0 of layer 1')")
    page.keyboard.press("]")
    until(page, "document.querySelector('.said').textContent.startsWith('Head 1 of layer 1')")
    until(page, lambda: page.locator(".long canvas").screenshot() != before)
    assert "layer=1" in page.url
    for _ in range(5):
        page.keyboard.press("]")
    until(page, "document.querySelector('.said').textContent.startsWith('Head 3 of layer 1')")


def test_words_on_a_circle(visit: Visit) -> None:
    page = visit("#door=words&word=9")
    page.wait_for_selector(".long canvas")
    page.get_by_label("on a circle").check()
    box = page.locator(".long canvas").bounding_box()
    assert box["height"] == pytest.approx(640)
    at = {"x": box["width"] / 2, "y": 560}  # the sixth of ten words stands at the bottom
    page.locator(".long canvas").click(position=at)
    until(page, "document.querySelector('.word.asked')?.firstChild.textContent === 'mat'")
    page.get_by_label("on a circle").uncheck()
    until(page, "document.querySelector('.long canvas')?.clientHeight === 340")


def test_steps_hold_their_own_sum(visit: Visit) -> None:
    page = visit("#door=steps")
    page.wait_for_selector(".steps")
    assert page.locator(".steps > li").count() == 9
    shares = page.locator(".steps > li:nth-child(6) td:last-child").all_inner_texts()
    total = sum(float(share.removesuffix("\u00a0%").removeprefix("<")) for share in shares)
    assert total == pytest.approx(100, abs=4)  # each is rounded


def test_parts_are_switched_off(visit: Visit) -> None:
    page = visit("#door=what-if&layer=1&head=2")
    page.get_by_role("button", name="switch off head 2 of layer 1").click()
    page.wait_for_selector(".after .shares")
    assert page.locator(".off").inner_text().startswith("layer 1, head 2")
    with_all = page.locator(".after .shares").inner_text()
    assert "was" in with_all or "new here" in with_all
    page.get_by_role("button", name="switch off positions").click()
    shares = page.locator(".after .shares")
    until(page, lambda: shares.count() and shares.inner_text() != with_all)
    assert "off=h1.2%2Cpositions" in page.url
    page.reload()  # a link shows the same comparison
    page.wait_for_selector(".after .shares")
    assert page.locator(".off .chip").count() == 2


def test_words_are_swapped_replaced_and_removed_in_one_sentence(visit: Visit) -> None:
    page = visit("#text=The+cat+chased+the+mouse+today&word=5&door=what-if")
    page.locator("button.both", has_text="cat").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # which goes on from there
    assert page.evaluate("document.activeElement.querySelector('span').textContent") == "chased"
    page.locator("button.both", has_text="mouse").click()
    page.get_by_role("button", name="swap “cat” and “mouse”").click()
    page.wait_for_selector(".after .shares")
    assert page.locator("[name=instead]").input_value() == "The mouse chased the cat today"
    assert "Most changed" in page.locator(".after").inner_text()
    assert [word.strip() for word in page.locator(".compared del").all_inner_texts()] == ["cat", "mouse"]
    assert [word.strip() for word in page.locator(".compared ins").all_inner_texts()] == ["mouse", "cat"]
    page.locator("button.both", has_text="chased").click()
    page.locator(".picked input").fill("drank")
    page.keyboard.press("Enter")
    until(page, "[...document.querySelectorAll('.compared ins')].some(word => word.textContent === 'drank')")
    assert "instead=The+mouse+drank+the+cat+today" in page.url
    page.locator("button.both", has_text="drank").click()
    page.get_by_role("button", name="remove it").click()
    until(page, "document.querySelector('[name=instead]').value === 'The mouse the cat today'")
    page.get_by_role("button", name="another text ×").click()
    until(page, "document.querySelector('.compared del') === null")
    assert "instead" not in page.url
    page.locator("button.both", has_text="mouse").drag_to(page.locator("button.both", has_text="cat"))
    until(page, "document.querySelector('[name=instead]').value === 'The mouse chased the cat today'")


def test_another_text_is_compared_word_by_word(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("=")
    page.wait_for_selector("[name=instead]:focus")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("The dog sat on the mat because it was hungry")
    page.keyboard.press("Enter")
    page.wait_for_selector(".after .shares")
    changed = page.locator(".compared del, .compared ins").all_inner_texts()
    assert changed[:4] == ["cat", "dog", "tired", "hungry"]
    assert page.locator(".both.same").count() >= 8
    page.locator(".both.same", has_text="mat").hover()
    until(page, "document.querySelector('.room .about').textContent.startsWith('“mat” · before: ')")
    assert " · after: " in page.locator(".room .about").inner_text()


def test_two_doors_stand_side_by_side_and_the_sentence_above_them(visit: Visit) -> None:
    page = visit("#word=9")
    page.keyboard.press("2")
    page.wait_for_selector("[data-view=heads] .note")
    page.get_by_label("another door beside it").select_option("words")
    page.wait_for_selector("[data-view=words] canvas")
    left, right = (page.locator(f"[data-view={door}]").bounding_box() for door in ("heads", "words"))
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 2
    assert "door=heads&beside=words" in page.url
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    until(page, "document.querySelector('.paper').getBoundingClientRect().top === 0")
    page.keyboard.press("ArrowLeft")  # both follow the word in question
    until(page, "document.querySelector('.word.asked').firstChild.textContent === 'was'")
    page.keyboard.press("]")
    until(page, "document.querySelector('[data-view=words] .said').textContent.startsWith('Head ')")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('.room').childElementCount === 1")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('.room').childElementCount === 0")


def test_a_saved_file_opens_without_a_network(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    held = hold(page, "**/api/save*")
    with page.expect_download() as download:
        page.keyboard.press("s")
        until(page, lambda: held)
        assert page.get_by_role("button", name="save").inner_text() == "⤓ saving …"
        held[0].continue_()
    file = tmp_path / "saved.html"
    download.value.save_as(file)
    kept = visit(file=file)
    for selector in (".answer", ".check", ".next"):
        assert kept.locator(selector).inner_text() == page.locator(selector).inner_text()
    for key in "1234":
        kept.keyboard.press(key)
        kept.wait_for_selector(".room .note")
        assert kept.locator(".room .error").count() == 0
    for card in ("The spotlight", "The network", "Many spotlights", "One by one", "The next word"):
        kept.keyboard.press("c")
        kept.wait_for_selector(f".deck-card[aria-expanded=true]:has-text('{card}')")
        told = kept.locator(".told").inner_text()
        kept.keyboard.press(".")
        assert kept.locator(".told").inner_text() != told
    kept.keyboard.press("x")
    offered = kept.locator(".shared button").all_inner_texts()
    assert offered == ["picture (PNG)", "picture (SVG)", "close"]  # what a file can do
    kept.keyboard.press("Escape")
    kept.locator(".word", has_text="mat").click()
    kept.wait_for_selector(".error")
    assert "open the sentence in limelight" in kept.locator(".error").inner_text()


def test_a_saved_file_cannot_be_broken_out_of(visit: Visit, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "saved.html"
    text = "</script><script>document.title='taken'</script> <!-- the cat"
    model = limelight.open(tiny, kind=limelight.Model)
    file.write_text(look(model, text), "utf-8")
    page = visit(file=file)
    assert page.title() == "limelight"
    assert written(page) == model.look(text).ahead.text


@pytest.mark.parametrize("behind", ["#door=heads", "#word=9&door=what-if&instead=The+cat+sat&off=h1.2,l0"])
def test_the_snippet_of_python_says_what_is_on_the_screen(visit: Visit, behind: str) -> None:
    page = visit(behind)
    told = page.locator(".answer").inner_text()
    page.keyboard.press("y")
    page.wait_for_selector(".snippet[open]")
    names: dict[str, Any] = {}
    exec(page.locator(".code").inner_text(), names)
    number = 10 if "word=9" in behind else None
    assert told.startswith(names["seen"].importance(number).told()[0])
    if "what-if" in behind:
        assert names["after"].text == "The cat sat"


def test_numbers_inside_the_network_are_drawn(visit: Visit) -> None:
    page = visit("#door=inside&word=9")
    page.wait_for_selector("[data-view=inside] .map")
    strongest = page.locator("[data-view=inside] .said").last
    adds = strongest.inner_text()
    assert adds.startswith("Strongest: “t")  # of a word its first token
    page.get_by_role("button", name="which heads bring it").click()
    until(page, lambda: strongest.inner_text() != adds)
    page.wait_for_selector("[data-view=inside] .note")
    assert "inside=brings" in page.url
    assert page.locator("[data-view=inside] i").inner_text() != SENTENCE  # the text that it is held against


def test_a_vector_is_added_by_a_slider(visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limelight.serve.steering.VECTORS", tmp_path)
    page = visit("#door=inside&inside=steer&word=9", width=360)
    page.wait_for_selector(".steered pre")  # how one is made
    for name in ("one", "two"):
        SteeringVector(torch.linspace(-1, 1, 32), 1 if name == "one" else 2, "tiny").save(
            tmp_path / f"{name}.safetensors"
        )
    page.reload()
    page.wait_for_selector(".steered .shares")
    shares = page.locator(".steered .shares")
    once = shares.inner_text()
    slider = page.get_by_label("how many times it is added")
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    until(page, lambda: shares.inner_text() != once and "strength=-1" in page.url)
    assert page.evaluate("document.activeElement.type") == "range"  # it was not put anew while it moved
    page.get_by_label("vector", exact=True).select_option("two")
    until(page, lambda: "layer 2" in page.locator(".steered").inner_text())
    assert "vector=two" in page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_lesson_is_a_link_and_goes_by_key(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("l")
    page.wait_for_selector(".lesson .slides")
    assert not page.locator("header").is_visible()
    title = page.locator(".slide-title")
    assert title.inner_text() == "1 of 6 · The spotlight"
    page.keyboard.press("PageDown")
    until(page, lambda: title.inner_text() == "2 of 6 · The network")
    page.locator(".plan summary").click()
    page.locator(".plan .chip", has_text="The spotlight").click()
    page.locator(".plan .chip", has_text="The spotlight").click()  # now it is the last
    until(page, lambda: title.inner_text() == "1 of 6 · The network")
    page.reload()  # the link holds the order
    until(page, lambda: title.count() == 1 and title.inner_text() == "1 of 6 · The network")
    page.keyboard.press("PageUp")
    until(page, lambda: title.inner_text() == "6 of 6 · The spotlight")
    page.wait_for_selector(".card .told b")
    page.locator(".slide-title").click()
    page.keyboard.press("Escape")
    until(page, "document.querySelector('header').offsetHeight > 0")
    assert "lesson" not in page.url


def test_a_card_tells_what_a_race_measured(visit: Visit) -> None:
    page = visit()
    costs = {"lstm": {"16": (512, 0.001), "4096": (512, 0.1)}, "gpt": {"16": (9000, 0.001), "4096": (3_670_000, 0.3)}}
    race = {
        "name": "mine",
        "recall": {"lstm": {"16 facts": 0.15}, "gpt": {"16 facts": 0.99}},
        "costs": {
            who: {at: {"kept": kept, "read": read} for at, (kept, read) in each.items()} for who, each in costs.items()
        },
    }
    page.route("**/api/race*", lambda route: route.fulfill(json=race))
    page.locator("[data-door=recurrent]").click()
    table = page.locator(".raced")
    table.wait_for()
    rows = [table.locator(f"tbody tr:nth-child({i}) td").all_inner_texts() for i in (1, 2, 3)]
    assert [cell.replace("\u00a0", " ") for cell in rows[0]] == ["15 %", "99 %"]
    assert rows[1:] == [["0.5 kB", "3.7 MB"], ["100 ms", "300 ms"]]
