"""The page as people meet it first, in a real browser: a text, its light, a conversation."""

import json
from pathlib import Path
from urllib.parse import urlencode

from cli.tiny_models import SENTENCE
from serve.pages import Visit, asked, until, written


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
    page.locator(".box").focus()
    page.keyboard.press("Escape")
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
    page.set_viewport_size({"width": 1280, "height": 420})
    page.locator(".box").fill("And then?")
    page.keyboard.press("Enter")
    answer.nth(1).locator(".word").nth(5).wait_for()
    until(  # what was said last does not stand behind the box
        page,
        """document.querySelector('.turns').getBoundingClientRect().bottom
           <= document.querySelector('.composer').getBoundingClientRect().top""",
    )
    page.get_by_role("button", name="Continue my text").click()
    page.wait_for_selector(".offer .small")
    page.locator(".offer .small").click()
    page.wait_for_selector(".check")


STOPPED = """const fetched = window.fetch;
window.fetch = (url, options) => !url.includes("/api/answer") ? fetched(url, options) : Promise.resolve(new Response(
    new ReadableStream({ start(lines) {
        lines.enqueue(new TextEncoder().encode('{"piece": "It is and", "likely": [], "chosen": null}\\n'));
        options.signal.addEventListener("abort", () => lines.error(options.signal.reason));
    } })));"""
"""An answer that never ends."""


def test_an_answer_that_was_stopped_can_go_on(visit: Visit) -> None:
    page = visit()
    page.add_init_script(STOPPED)
    page.reload()
    page.wait_for_selector(".check")  # whether the model converses is known by then
    page.locator(".box").fill("Why is it so?")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.writing')?.textContent === 'It is and'")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="continue", exact=True).click()
    until(page, "document.querySelector('.writing')?.textContent === 'It is andIt is and'")
    page.keyboard.press("Escape")
    page.wait_for_selector(".turn.assistant .word")


def test_a_picture_of_the_answer_is_passed_on(visit: Visit, tiny: Path) -> None:
    page = visit()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("x")
    page.get_by_role("button", name="copy the link").click()
    page.wait_for_selector("text=copied;")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(page.url)
    assert urlencode({"model": str(tiny)}) in link  # another one may be open when it is followed
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
    said = page.locator(".answer").inner_text()  # what it expected is part of a character, which nobody can read
    assert said.startswith("The model expected something else; “tired” is its no. ")
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


def test_words_are_cut_into_tokens_and_back(visit: Visit) -> None:
    page = visit("#text=unbelievable+cats+sat")
    words = page.locator(".word").count()
    page.keyboard.press("t")
    until(page, f"document.querySelectorAll('.word').length > {words + 2}")
    page.wait_for_selector(".check")
    assert "tokens=1" in page.url
    assert written(page).startswith("unbelievable cats sat")
    page.locator(".word").first.hover()
    until(page, "document.querySelector('.about').textContent.includes('of the word “unbelievable”')")
    page.keyboard.press("t")
    until(page, "document.querySelector('.word').firstChild.textContent === 'unbelievable'")
    assert "token" in page.locator(".about").inner_text()


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
    for part in (".doors", ".replies", ".under"):  # which only a text has a use for
        assert not page.locator(part).is_visible(), part


def test_words_from_right_to_left_turn_no_number_around(visit: Visit) -> None:
    """In sentences from Python, too: a word is set apart from the quotes and the share behind it."""
    page = visit(f"#{urlencode({'text': 'القطة جلست على السجادة', 'word': 3})}")
    page.wait_for_selector("p.answer")
    said = page.locator("p.answer").inner_text()
    quoted = [part.split("”")[0] for part in said.split("“")[1:]]
    assert any("\u0600" <= letter <= "\u06ff" for word in quoted for letter in word), said
    for word in quoted:
        if any("\u0600" <= letter <= "\u06ff" for letter in word):
            assert word.startswith("\u2068"), said
            assert word.endswith("\u2069"), said
