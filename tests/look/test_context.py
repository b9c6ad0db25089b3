"""Whole answers looked at: conversations and passages, against plain forwards with parts of the prompt hidden."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from references import saved

import limelight
from limelight.errors import RequestError, TextError
from limelight.look import SeenAnswer
from limelight.look.context import Matrix, Prompted, Segment, _turns, conversation, passage
from limelight.look.importance import ALL
from limelight.look.text import sink_tokens
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.presets import preset
from limelight.text.words import Word

PROMPT = "w10 w11 . w12 w13 w14 .\nw15 w16\n\nw17 w18 w19 ."
ANSWER = " w20 w21 . w22 w23"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp("llama")
    saved("llama", folder)
    return limelight.open(folder, kind=limelight.Model)


@pytest.fixture
def seen(model: limelight.Model) -> SeenAnswer:
    return model.look(PROMPT, ANSWER)


def answered(model: limelight.Model, seen: SeenAnswer, hidden: tuple[range, ...] = ()) -> torch.Tensor:
    """The log-probabilities of the answer's tokens, by one plain forward in which nobody attends to `hidden`."""
    tokens = torch.tensor([seen.reading.tokens])
    visible = torch.ones(1, tokens.shape[1], tokens.shape[1], dtype=torch.bool)
    for span in hidden:
        visible[0, span.stop :, span.start : span.stop] = False
    with torch.inference_mode():
        logprobs = model.network(tokens, visible=visible)[0].log_softmax(-1)
    first = seen.parts("message")[0].tokens.start
    places = torch.arange(first, tokens.shape[1])
    return logprobs[places - 1, tokens[0, places]]


def test_a_passage_is_cut_into_paragraphs_sentences_and_words(seen: SeenAnswer) -> None:
    assert [part.text for part in seen.prompt("message")] == ["w10 w11 . w12 w13 w14 .\nw15 w16", "w17 w18 w19 ."]
    sentences = ["w10 w11 .", "w12 w13 w14 .", "w15 w16", "w17 w18 w19 ."]
    assert [part.text for part in seen.prompt()] == sentences
    assert [part.text for part in seen.prompt("word")] == PROMPT.split()
    assert [part.text for part in seen.parts()] == ["w20 w21 .", "w22 w23"]
    assert [part.text for part in seen.parts("word")] == ANSWER.split()
    assert seen.answer == ANSWER.strip()
    for part in (*seen.prompt(), *seen.parts("word")):
        assert seen.text[part.start : part.end] == part.text
        assert part.role is None


def test_the_matrix_is_what_each_part_loses_when_one_is_hidden(model: limelight.Model, seen: SeenAnswer) -> None:
    whole = answered(model, seen)
    words, first = seen.parts("word"), seen.parts("message")[0].tokens.start
    found = seen.matrix("word", "sentence")
    assert found.values.shape == (5, 4)
    for column, sentence in enumerate(found.columns):
        lost = whole - answered(model, seen, (sentence.tokens,))
        for row, word in enumerate(words):
            inside = lost[word.tokens.start - first : word.tokens.stop - first]
            assert float(found.values[row, column]) == pytest.approx(float(inside.sum()), abs=1e-4)
    folded = seen.matrix("sentence", "sentence").values
    torch.testing.assert_close(folded, torch.stack((found.values[:3].sum(0), found.values[3:].sum(0))))
    torch.testing.assert_close(seen.matrix("message", "sentence").whole(), found.whole())
    assert float(found.values.abs().max()) > 1e-3


def test_a_matrix_tells_of_each_part_what_it_rests_on_most() -> None:
    rows = Segment("Yes.", 20, 24, range(9, 10), None), Segment("It is.", 25, 31, range(10, 12), None)
    columns = Segment("One", 0, 3, range(1, 2), "user"), Segment("Two", 4, 7, range(2, 3), "user")
    found = Matrix(rows, columns, torch.tensor([[0.1, 3.0], [-1.0, -2.0]]))
    assert str(found) == "“Yes.”: 20 times less likely without “Two”\n“It is.”: 2.7 times more likely without “One”"
    assert found.whole().tolist() == pytest.approx([-0.9, 1.0])
    assert rows[1].word == Word("It is.", 25, 31, range(10, 12))
    frame = pytest.importorskip("pandas") and found.to_pandas()
    assert (list(frame.index), list(frame.columns)) == (["Yes.", "It is."], ["One", "Two"])
    assert frame.loc["It is.", "One"] == -1


def test_a_passage_has_a_part_for_each_paragraph_and_the_answer(model: limelight.Model) -> None:
    found = passage(model.tokenizer, "a b\n\n c\nd\n \n\ne ", " f \n")
    parts = ((0, 3, None), (6, 9, None), (13, 15, None), (15, 17, None))  # an empty line parts, a new line does not
    assert found == Prompted("a b\n\n c\nd\n \n\ne  f", parts, sink_tokens(model.tokenizer), False, None)


def test_messages_are_found_one_behind_the_other() -> None:
    messages = [
        {"role": "user", "content": " w10 "},
        {"role": "system", "content": ""},
        {"role": "tool"},
        {"role": "user", "content": "w10"},
    ]
    opened = "<s> user : w10 </s> <s> user : w10 </s>"
    assert _turns(opened, messages) == [(11, 14, "user"), (31, 34, "user")]
    with pytest.raises(RequestError, match="template changes message 2, so that its words cannot be found"):
        _turns("w10 w11", [messages[0], messages[0]])
    with pytest.raises(RequestError, match="message 1 is 'w10'; it must be a dictionary"):
        _turns(opened, ["w10"])  # type: ignore[list-item]


def test_one_word_of_an_answer_has_a_rank_and_several_have_none(model: limelight.Model, seen: SeenAnswer) -> None:
    assert repr(seen) == f"SeenAnswer('w20 w21 . w22 w23', 2 messages before it, by {model.title})"
    one = seen.importance("w21", of="word", check=False)
    at = seen.parts("word")[1].tokens.start
    with torch.inference_mode():
        order = model.network(torch.tensor([seen.reading.tokens]))[0, at - 1].argsort(descending=True).tolist()
    assert (one.rank, one.expected, one.check) == (order.index(21) + 1, None, None)
    assert (one.by, one.target.text, one.logprob) == ("sentence", "w21", pytest.approx(float(answered(model, seen)[1])))
    assert seen.importance("w22 w23", check=False).rank is None
    assert seen.importance(check=False).target.text == seen.answer
    told: list[tuple[int, int]] = []
    seen.matrix(progress=lambda *step: told.append(step))
    assert told[-1] == (4, 4)


def test_a_recurrent_model_answers_without_what_is_left_out(model: limelight.Model) -> None:
    torch.manual_seed(0)
    network = build(preset("lstm", 99, width=32)).eval()
    assert isinstance(network, Decoder)
    seen = replace(model, network=network).look(PROMPT, ANSWER)
    tokens, first = list(seen.reading.tokens), seen.parts("message")[0].tokens.start

    def said(gone: range) -> torch.Tensor:
        """The log-probabilities of the answer's tokens where a part of the prompt is gone."""
        kept = [token for place, token in enumerate(tokens) if place not in gone]
        with torch.inference_mode():
            scores = network(torch.tensor([kept]))[0].log_softmax(-1)
        places = torch.arange(first - len(gone), len(kept))
        return scores[places - 1, torch.tensor(kept)[places]]

    found = seen.matrix("message", "sentence")
    lost = [(said(range(0)) - said(part.tokens)).sum() for part in found.columns]
    assert found.values[0].tolist() == pytest.approx(torch.stack(lost).tolist(), abs=1e-4)


def test_importance_names_parts_by_what_the_answer_loses_without_them(model: limelight.Model, seen: SeenAnswer) -> None:
    whole = answered(model, seen).sum()
    found = seen.importance(by="sentence")
    lost = [float(whole - answered(model, seen, (part.tokens,)).sum()) for part in seen.prompt()]
    assert [heard.importance for heard in found.words] == pytest.approx(lost, abs=1e-3)
    assert [heard.word for heard in found.words] == [part.text for part in seen.prompt()]
    assert found.logprob == pytest.approx(float(whole), abs=1e-3)
    assert set(found.losses) <= {"blocked", "deleted"}  # no likely sentence could stand in the place of one
    assert not any(heard.asks for heard in found.words)
    second = seen.importance(2, by="message")
    assert second.target.text == "w22 w23"
    assert len(second.words) == 2


def test_of_a_long_prompt_the_words_of_the_sentences_that_matter_most_are_judged(model: limelight.Model) -> None:
    sentences = [" ".join(f"w{(7 * i + 3 * j) % 90 + 5}" for j in range(6)) + " ." for i in range(6)]
    seen = model.look(" ".join(sentences), " w20 w21")
    assert len(seen.prompt("word")) > ALL
    losses = seen.matrix("message", "sentence").values[0]
    best = sorted(losses.topk(2).indices.tolist())
    found = seen.importance(by="word", check=False)
    assert [heard.word for heard in found.words] == [word for i in best for word in sentences[i].split()]


def test_what_is_no_prompt_or_no_part_is_refused(model: limelight.Model, seen: SeenAnswer) -> None:
    with pytest.raises(RequestError, match="a prompt and an answer need at least one word each"):
        model.look(PROMPT, "  ")
    with pytest.raises(RequestError, match="by is 'token'; it must be one of"):
        seen.importance(by="token")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no sentence 3"):
        seen.importance(3)
    with pytest.raises(TextError, match="template"):
        model.look([{"role": "user", "content": "w10"}], "w11")


def test_control_tokens_written_in_a_passage_are_plain_text(tiny: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    seen = model.look("the cat <|im_end|> sat", " on <|im_start|> it")
    front = len(sink_tokens(model.tokenizer))
    assert not model.tokenizer.controls & set(seen.reading.tokens[front:])
    assert model.tokenizer.controls & set(model.tokenizer.encode(seen.text, special=True).ids)


TEMPLATE = (
    "{% for m in messages %}<s> {{ m.role }} : {{ m.content }} </s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s> assistant : {% endif %}"
)


def test_a_conversation_by_the_models_own_template(tmp_path: Path) -> None:
    saved("llama", tmp_path)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    model = limelight.open(tmp_path, kind=limelight.Model)
    messages = [{"role": "system", "content": "w10 w11 ."}, {"role": "user", "content": "w12 w13 w14 ."}]
    seen = model.look(messages, "w20 w21 .")
    assert [(part.role, part.text) for part in seen.prompt("message")] == [
        ("system", "w10 w11 ."),
        ("user", "w12 w13 w14 ."),
    ]
    assert seen.answer == "w20 w21 ."
    assert model.look([*messages, {"role": "assistant", "content": "w20 w21 ."}]).text == seen.text
    ids = len(model.tokenizer.encode(seen.text, special=True).ids)
    said = "w20 w21 w22 w23 w24 w25"
    four = "w20 w21 w22 w23"  # nine tenths, again and again
    for most, kept in ((None, said), (ids + 3, said), (ids + 2, f"{four} w24"), (ids + 1, four)):
        cut = conversation(model.tokenizer, messages, f"{said} ", most)
        assert cut.text.endswith(f"<s> assistant : {kept}")
        assert cut.parts[-1] == (len(cut.text) - len(cut.text.rpartition(" : ")[2]), len(cut.text), "assistant")
        assert most is None or len(model.tokenizer.encode(cut.text, special=True).ids) <= most
    assert (cut.special, cut.front, cut.coded) == (True, (), None)
    written = model.look(messages)  # the model gives an answer of its own
    assert written.text.startswith(seen.text[: -len("w20 w21 .")])
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE.replace("m.content", "m.content | upper"))
    loud = limelight.open(tmp_path, kind=limelight.Model)
    with pytest.raises(RequestError, match="changes message 1"):
        loud.look(messages, "w20")
