"""The page as people meet it: in a real browser, with a tiny model behind it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cli.tiny_models import SENTENCE

import limelight
from limelight.views.saved import look

Visit = Callable[..., Any]


def asked(page: Any) -> str:
    """The word in question, without its number."""
    text: str = page.locator(".word.asked").evaluate("word => word.firstChild.textContent")
    return text


def written(page: Any) -> str:
    """The sentence without its numbers."""
    text: str = page.locator(".sentence").evaluate(
        "sentence => [...sentence.children].map(part => part.firstChild.textContent).join('')"
    )
    return text


def until(page: Any, condition: str | Callable[[], Any]) -> None:
    """Waits for a condition, of the page if it is JavaScript."""
    for _ in range(1200):  # the page's policy forbids waiting inside it by a condition that is text
        if page.evaluate(condition) if isinstance(condition, str) else condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def test_the_first_screen_answers_without_scrolling(visit: Visit) -> None:
    page = visit()
    assert page.locator(".sentence").inner_text().startswith("The")
    assert "asked" in page.locator(".word.added").first.get_attribute("class")  # what the model says next
    assert page.locator(".answer").inner_text().startswith(f"The model says “{asked(page)}” (")
    assert page.locator(".measured").count() == 10
    doors = page.locator(".doors").bounding_box()
    assert doors["y"] + doors["height"] <= 800
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_next_words_are_seen_being_chosen_and_the_light_follows_the_pointer(visit: Visit) -> None:
    page = visit(motion=True)
    page.locator(".example", has_text="Mary").click()
    page.wait_for_selector(".choices .taken")  # what was likely, and what was chosen of it
    until(page, "document.querySelectorAll('.measured').length === 13")
    assert page.locator(".box").input_value() == "Mary and John went to the shop. John gave a drink to"
    page.locator(".likelier.own").wait_for()
    page.locator(".word", has_text="drink").hover()
    until(page, "document.querySelector('.word.lit')?.firstChild.textContent === 'drink'")
    page.locator(".word", has_text="went").hover()
    until(page, "document.querySelector('.word.lit')?.firstChild.textContent === 'went'")


def test_a_question_is_answered_and_the_answer_is_asked_where_it_is_from(visit: Visit) -> None:
    page = visit()
    said = {"piece": "It is. Look up!", "likely": [], "chosen": None, "finish": "length"}
    page.route("**/api/answer*", lambda route: route.fulfill(body=json.dumps(said) + "\n"))
    page.keyboard.press("/")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Why is it so?")
    page.wait_for_selector(".offer .go")  # a question is not explained, but answered
    assert not page.locator(".stage").is_visible()
    page.keyboard.press("Enter")
    answer = page.locator(".turn.assistant")
    answer.locator(".word").nth(5).wait_for()
    assert page.locator(".turn.user .said").inner_text() == "Why is it so?"
    until(page, "document.querySelectorAll('.turn.user .word.raised, .turn.user .word.lowered').length > 0")
    answer.locator(".word", has_text="Look").click()
    page.wait_for_selector(".explained")
    assert "“Look”" in answer.locator(".explained").inner_text()
    page.get_by_role("button", name="this sentence?").click()
    until(page, "document.querySelectorAll('.turn.assistant .word.asked').length === 3")
    page.wait_for_selector(".explained")
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('.turn.assistant .asked')?.textContent === '.'")
    page.get_by_role("button", name="continue", exact=True).click()
    until(page, "document.querySelector('.turn.assistant .said').textContent.endsWith('up!It is. Look up!')")
    page.get_by_role("button", name="edit").click()
    page.locator(".edit").fill("Is it so?")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.turn.user .said')?.textContent === 'Is it so?'")
    answer.locator(".word").nth(5).wait_for()
    page.reload()  # all of it is in the address
    answer.locator(".word").nth(5).wait_for()
    assert page.locator(".turn").count() == 2
    page.get_by_role("button", name="Continue my text").click()
    page.wait_for_selector(".offer .small")
    page.locator(".offer .small").click()
    page.wait_for_selector(".check")


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


def test_a_picture_of_the_answer_is_passed_on(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("x")
    with page.expect_download() as download:
        page.get_by_role("button", name="picture (SVG)").click()
    drawn = Path(download.value.path()).read_text("utf-8")
    for word in [*SENTENCE.split(), page.locator(".answer").inner_text().split("“")[1].split("”")[0]]:
        assert f">{word}<" in drawn
    with page.expect_download() as download:
        page.get_by_role("button", name="picture (PNG)").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_sentence_is_typed_and_answered(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("/")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Mary gave John a drink")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.measured').length === 5")
    page.wait_for_selector(".check")
    assert page.locator(".word").nth(5).evaluate("word => word.matches('.asked.added')")
    assert "text=Mary+gave+John+a+drink" in page.url
    page.go_back()
    until(page, "document.querySelectorAll('.measured').length === 10")
    assert written(page).startswith(SENTENCE)


def test_a_method_is_chosen_and_the_default_again(visit: Visit) -> None:
    page = visit()
    page.locator(".how summary").click()
    methods = page.get_by_label("measured by")
    until(page, lambda: "default: " in methods.inner_text())
    methods.select_option("gradient-input")
    page.wait_for_selector(".check")
    assert "method=gradient-input" in page.url
    assert "default: " not in methods.inner_text()
    methods.select_option("")
    until(page, lambda: "default: " in methods.inner_text())
    assert "method" not in page.url
    page.go_back()
    until(page, lambda: methods.input_value() == "gradient-input")


def test_a_word_is_chosen_by_click_and_by_arrow(visit: Visit) -> None:
    page = visit()
    page.locator(".word", has_text="because").click()
    until(page, "document.querySelectorAll('.measured').length === 6")
    assert asked(page) == "because"
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelectorAll('.measured').length === 7")
    assert asked(page) == "it"
    assert "word=7" in page.url
    page.reload()
    until(page, "document.querySelectorAll('.measured').length === 7")
    assert asked(page) == "it"


def test_a_given_word_that_was_not_expected_is_told_as_such(visit: Visit) -> None:
    page = visit("#word=9")
    assert asked(page) == "tired"
    assert page.locator(".answer").inner_text().startswith("The model expected “")
    assert "“tired” is its no. " in page.locator(".answer").inner_text()
    page.locator(".word.added").first.click()  # back to what the model says next
    until(page, "document.querySelectorAll('.measured').length === 10")
    assert "word" not in page.url


def test_of_a_long_text_an_estimate_is_shown_until_it_is_measured(visit: Visit) -> None:
    page = visit()
    page.evaluate(
        """() => new MutationObserver(() => {
            if (!document.querySelector(".replies").textContent.startsWith("An estimate")) return;
            document.body.dataset.estimate = document.querySelectorAll(".value").length;
        }).observe(document.querySelector(".replies"), { childList: true, subtree: true })"""
    )
    page.keyboard.press("/")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(" ".join([SENTENCE] * 21))
    until(page, "document.body.dataset.estimate !== undefined")
    assert page.evaluate("document.body.dataset.estimate") == "0"  # a colour, but no number
    page.wait_for_selector(".check")
    assert not page.locator(".answer").inner_text().startswith("An estimate")
    assert 12 <= page.locator(".measured").count() <= 14


def test_how_it_was_measured_is_told_to_those_who_ask(visit: Visit) -> None:
    page = visit("#method=gradient-input")
    assert page.locator(".how table").is_hidden()
    page.locator(".how summary").click()
    told = page.locator(".how").inner_text()
    assert "other likely words in their places" in told
    assert "hidden from all other words" in told
    page.locator(".answer .plain").first.click()
    until(page, "document.querySelector('.word.asked.given') !== null")


def test_a_link_may_ask_about_a_word_that_the_model_adds(visit: Visit) -> None:
    page = visit("#" + urlencode({"text": f"{SENTENCE},", "word": 12, "temperature": 1.5, "seed": 2}))
    until(page, "document.querySelectorAll('.measured').length === 12")
    assert page.locator(".word.asked").evaluate("word => word.classList.contains('added')")
    until(page, "document.querySelector('.next .own') !== null")
    page.locator(".beneath summary").click()
    assert "it could have said" in page.locator(".beneath h2").first.inner_text()


def test_layer_and_head_change_by_keyboard(visit: Visit) -> None:
    page = visit("#door=words&layer=0&head=0")
    until(page, "document.querySelector('.said')?.textContent.startsWith('Head 0 of layer 0')")
    before = page.locator(".long canvas").screenshot()
    page.keyboard.press("ArrowDown")
    until(page, "document.querySelector('.said').textContent.startsWith('Head 0 of layer 1')")
    page.keyboard.press("]")
    until(page, "document.querySelector('.said').textContent.startsWith('Head 1 of layer 1')")
    assert page.locator(".long canvas").screenshot() != before
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


@pytest.mark.parametrize("door", ["heads", "steps", "layers", "what-if"])
def test_each_door_opens_by_its_key_and_closes(visit: Visit, door: str) -> None:
    page = visit()
    page.keyboard.press(str(["words", "heads", "steps", "layers", "what-if"].index(door) + 1))
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
        route.continue_()
    page.wait_for_timeout(500)
    assert page.locator(".room > *").count() == 0
    page.keyboard.press("2")
    page.wait_for_selector(".room .roles")


def test_what_was_asked_of_one_model_is_not_asked_of_the_next(visit: Visit, runs: Path) -> None:
    page = visit()
    held = hold(page, "**/api/next*")
    page.locator(".word", has_text="because").click()
    until(page, lambda: held)
    page.get_by_label("Model", exact=True).select_option(str(runs / "lstm-attention"))
    page.wait_for_selector("[data-door=translation]:visible")
    page.wait_for_selector(".word.added")
    until(page, lambda: held[0].request.failure == "net::ERR_ABORTED")


def hold(page: Any, pattern: str) -> list[Any]:
    """The requests to `pattern`, which from now on wait."""
    held: list[Any] = []

    def keep(route: Any) -> None:
        held.append(route)

    page.route(pattern, keep)
    return held


def test_steps_hold_their_own_sum(visit: Visit) -> None:
    page = visit("#door=steps")
    page.wait_for_selector(".steps")
    assert page.locator(".steps > li").count() == 9
    shares = page.locator(".steps > li:nth-child(6) td:last-child").all_inner_texts()
    total = sum(float(share.removesuffix("\u00a0%").removeprefix("<")) for share in shares)
    assert total == pytest.approx(100, abs=4)  # each is rounded


def test_why_not_another_word(visit: Visit) -> None:
    page = visit("#word=9")
    page.locator(".beneath summary").click()
    page.locator(".whynot input").fill("hungry")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.ask').textContent === 'Why “tired” and not “hungry”?'")
    page.wait_for_selector(".check")
    page.locator(".brand").click()
    page.keyboard.press("Escape")
    until(page, "document.querySelector('.ask').textContent.startsWith('Which words')")


def test_sliders_cut_words(visit: Visit) -> None:
    page = visit()
    page.locator(".beneath summary").click()
    slider = page.get_by_role("slider", name="top-k")
    slider.focus()
    slider.press("Home")  # one word is left
    until(page, "document.querySelectorAll('.next .cut').length >= 9")
    slider.press("End")
    page.get_by_role("slider", name="top-p").press("End")
    until(page, "document.querySelectorAll('.next .cut').length === 0")


def test_a_head_is_switched_off(visit: Visit) -> None:
    page = visit("#door=what-if&layer=1&head=2")
    page.get_by_role("button", name="switch off head 2 of layer 1").click()
    page.wait_for_selector(".after .measured")
    assert page.locator(".after .shares").inner_text() != page.locator(".before .shares").inner_text()
    assert page.locator(".off").inner_text().startswith("layer 1, head 2")


def test_two_words_are_swapped_and_one_is_replaced(visit: Visit) -> None:
    page = visit("#text=The+cat+chased+the+mouse+today&word=5&door=what-if")
    page.locator(".before .word", has_text="cat").click()
    page.locator(".before .word", has_text="mouse").click()
    page.get_by_role("button", name="swap “cat” and “mouse”").click()
    page.wait_for_selector(".after .measured")
    assert page.locator("[name=instead]").input_value() == "The mouse chased the cat today"
    assert "Most changed" in page.locator(".after").inner_text()
    page.locator(".before .word", has_text="chased").click()
    page.locator(".picked input").fill("drank")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.after .word:nth-of-type(3)') !== null")
    until(page, "[...document.querySelectorAll('.after .word')].some(word => word.textContent.startsWith('drank'))")
    page.get_by_role("button", name="another sentence ×").click()
    until(page, "document.querySelector('.after .measured') === null")


@pytest.mark.parametrize("name", ["transformer-modern-tiny", "lstm-attention"])
def test_a_word_of_the_source_is_replaced_and_translated_anew(visit: Visit, runs: Path, name: str) -> None:
    behind = {"text": "zwei kinder spielen im schnee .", "model": str(runs / name), "door": "what-if"}
    page = visit("#" + urlencode(behind))
    page.wait_for_selector(".room .note")
    assert page.get_by_role("button", name="switch off positions").count() == 0
    page.locator(".before .word.added").first.click()  # what the model said cannot be changed
    page.locator(".before .word.given", has_text="schnee").click()
    page.locator(".picked input").fill("wald")
    page.keyboard.press("Enter")
    page.wait_for_selector(".after .measured")
    page.wait_for_selector(".before .shares tr")
    assert page.locator("[name=instead]").input_value() == "zwei kinder spielen im wald ."
    given = page.evaluate(
        "[...document.querySelectorAll('.after .word.given')].map(word => word.firstChild.textContent)"
    )
    assert given == ["zwei", "kinder", "spielen", "im", "wald", "."]
    assert page.locator(".after .word.added").count() > 0
    other = {"transformer-modern-tiny": "lstm-attention", "lstm-attention": "transformer-modern-tiny"}[name]
    page.get_by_label("another model").select_option(str(runs / other))
    page.wait_for_selector(".off .chip >> nth=1")
    page.wait_for_selector(".after .measured")


def test_positions_are_switched_off(visit: Visit) -> None:
    page = visit("#door=what-if")
    page.get_by_role("button", name="switch off positions").click()
    page.wait_for_selector(".after .measured")
    assert page.locator(".after .shares").inner_text() != page.locator(".before .shares").inner_text()
    assert "was" in page.locator(".after td.faint").first.inner_text() or "new" in page.locator(".after").inner_text()


def test_words_are_cut_into_tokens_and_back(visit: Visit) -> None:
    page = visit("#text=unbelievable+cats+sat")
    words = page.locator(".word").count()
    page.keyboard.press("t")
    until(page, f"document.querySelectorAll('.word').length > {words + 2}")
    page.wait_for_selector(".check")
    assert "tokens=1" in page.url
    assert written(page).startswith("unbelievable cats sat")
    page.locator(".word").first.hover()
    assert "of the word “unbelievable”" in page.locator(".about").inner_text()
    page.keyboard.press("t")
    until(page, "document.querySelector('.word').firstChild.textContent === 'unbelievable'")
    assert "token" in page.locator(".about").inner_text()


def owing(route: Any, row: int, column: int) -> None:
    """Answers as the server does, but one word of the translation owes much to one of the source."""
    *before, last = route.fetch().text().splitlines()
    answer = json.loads(last)
    answer["translation"]["grid"][row][column] = 3.0
    route.fulfill(body="\n".join([*before, json.dumps(answer), ""]))


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("name", ["transformer-modern-tiny", "lstm-attention"])
def test_a_translation_is_looked_at_from_both_sides(visit: Visit, runs: Path, name: str, width: int) -> None:
    behind = {"text": "zwei kinder spielen im schnee und ein hund läuft", "model": str(runs / name)}
    page = visit("#" + urlencode(behind), width=width)
    assert page.locator(".word.given").count() == 9
    assert page.locator(".word.added").count() > 3
    assert page.locator(".door:visible").all_inner_texts() == ["5What if", "6Translation"]
    page.route("**/api/translation*", lambda route: owing(route, row=1, column=7))  # its second word to “hund”
    page.reload()  # it may have asked already
    until(page, "document.querySelectorAll('.word.added').length > 3 && document.querySelector('.check')")
    page.keyboard.press("6")
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


def test_dark_mode_and_its_key(visit: Visit) -> None:
    page = visit(dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert dark == "rgb(21, 21, 23)"
    page.keyboard.press("d")
    assert page.evaluate(ground) == "rgb(252, 251, 247)"
    page.keyboard.press("d")
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("door", ["words", "heads", "steps", "layers", "what-if"])
def test_a_narrow_screen_never_scrolls_sideways(visit: Visit, door: str) -> None:
    page = visit(f"#door={door}", width=360, height=740)
    page.wait_for_selector(".room .note")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)><script>document.title='taken'</script> and a word",
        "שלום עולם טוב מאד היום",
        "猫が 好き です 🐈👩‍👩‍👧 ok",
        "word " * 150,
    ],
    ids=["markup", "right to left", "Chinese and emoji", "long"],
)
def test_text_is_only_ever_text(visit: Visit, text: str) -> None:
    page = visit("#" + urlencode({"text": text, "door": "words"}))
    page.wait_for_selector(".room canvas")
    assert written(page).startswith(text)
    assert page.title() == "limelight"
    assert page.locator("img, .sentence script").count() == 0


def test_one_word_and_none(visit: Visit) -> None:
    page = visit()
    page.keyboard.press("/")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("cat")
    until(page, "document.querySelectorAll('.measured').length === 1")
    page.wait_for_selector(".check")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.press("Backspace")
    until(page, "document.querySelector('.ask').textContent === 'Write a sentence.'")


def test_a_saved_file_opens_without_a_network(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    with page.expect_download() as download:
        page.keyboard.press("s")
    file = tmp_path / "saved.html"
    download.value.save_as(file)
    kept = visit(file=file)
    for selector in (".answer", ".check", ".next"):
        assert kept.locator(selector).inner_text() == page.locator(selector).inner_text()
    for key in "1234":
        kept.keyboard.press(key)
        kept.wait_for_selector(".room .note")
        assert kept.locator(".room .error").count() == 0
    kept.locator(".word", has_text="mat").click()
    kept.wait_for_selector(".error")
    assert "open the sentence in limelight" in kept.locator(".error").inner_text()


@pytest.mark.parametrize("name", ["transformer-modern-tiny", "lstm-attention"])
def test_a_saved_translation_opens_without_a_network(
    visit: Visit, runs: Path, tiny: Path, tmp_path: Path, name: str
) -> None:
    page = visit("#" + urlencode({"text": "zwei kinder spielen im schnee", "model": str(runs / name)}))
    page.keyboard.press("6")
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


def test_a_saved_file_cannot_be_broken_out_of(visit: Visit, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "saved.html"
    text = "</script><script>document.title='taken'</script> <!-- the cat"
    model = limelight.open(tiny, kind=limelight.Model)
    file.write_text(look(model, text), "utf-8")
    page = visit(file=file)
    assert page.title() == "limelight"
    assert written(page) == model.look(text).ahead.text


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
