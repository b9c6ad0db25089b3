import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from limelight.decode import StopStrings
from limelight.errors import RequestError

# Few letters, so that stop strings overlap, contain and begin one another.
pieces = st.lists(st.text("abc", max_size=6), max_size=12)
stop_strings = st.lists(st.text("abc", min_size=1, max_size=5), max_size=4)


@settings(deadline=None)
@given(pieces, stop_strings)
@example(["ab", "c", "d"], ["bc", "abcd"])
@example(["ab", "c"], ["bc", "abcd"])
@example(["a", "b"], ["ab", "abc"])
def test_output_is_the_text_cut_at_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]

    stopper = StopStrings(stops)
    output = "".join([stopper.push(piece) for piece in pieces]) + stopper.flush()

    assert output == (text[: min(found)] if found else text)
    assert stopper.stopped == bool(found)


@settings(deadline=None)
@given(pieces, stop_strings)
def test_no_more_is_held_back_than_must_be(pieces: list[str], stops: list[str]) -> None:
    stopper = StopStrings(stops)
    text = output = ""
    for piece in pieces:
        text += piece
        output += stopper.push(piece)
        if stopper.stopped:
            break
        held = text[len(output) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_streams_what_is_certain_and_withholds_what_is_not() -> None:
    stopper = StopStrings(["\nUser:"])
    assert [stopper.push(piece) for piece in ("Hello", "\nUs", "ual\n", "Use", "r: hi", "more")] == [
        "Hello",
        "",
        "\nUsual",
        "",
        "",
        "",
    ]
    assert stopper.stopped
    assert stopper.flush() == ""


def test_characters_special_to_patterns_are_plain_text() -> None:
    stopper = StopStrings([".*", "(?"])
    assert stopper.push("a.b(c.*d") == "a.b(c"
    assert stopper.stopped


def test_without_stop_strings_all_passes_at_once() -> None:
    stopper = StopStrings([])
    assert stopper.push("anything") == "anything"
    assert not stopper.stopped


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(RequestError, match="empty"):
        StopStrings(["ok", ""])
