"""The word that comes next: against the likeliest token taken again and again by plain forwards."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from look import plainly
from references import saved

import limelight
from limelight.errors import RequestError
from limelight.look.next_word import END, LONGEST, continued
from limelight.look.text import Reading, read
from limelight.models.api import Decoder
from limelight.text.tokenizer import Tokenizer

TEXT = "w10 w11 w12 w13 w14 w15 w16 w17 w18"


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model)


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Bytes as GPT-2 spells them, some joined to longer tokens, and a token by which a text ends."""
    import transformers
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "c"), ("Ġc", "a"), ("Ġca", "t"), ("d", "o"), ("do", "n"), ("t", "."), ("Ċ", "Ċ"), ("Ċ", "Ġ")]
    vocab = {token: i for i, token in enumerate(["<end>", *letters, *("".join(pair) for pair in merges)])}
    inner = Inner(models.BPE(vocab, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("bytes")
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>").save_pretrained(folder)
    return Tokenizer.from_folder(folder)


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Pieces as SentencePiece has them, and bytes for all that is no piece."""
    import transformers
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, normalizers

    names = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁cat", "▁a", "s", "."]
    inner = Inner(models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    folder = tmp_path_factory.mktemp("fallback")
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>").save_pretrained(
        folder
    )
    return Tokenizer.from_folder(folder)


class Says(Decoder):
    """Says some tokens, whatever was read."""

    def __init__(self, ids: Sequence[int], context: int = 99) -> None:
        torch.nn.Module.__init__(self)
        self._ids: Iterator[int] = iter(ids)
        self._context = context

    @property
    def context(self) -> int:
        return self._context

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def start(self, *args: Any) -> Any:
        return None

    def step(self, *args: Any, **options: Any) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor([[next(self._ids)]]), 999).float()


def after(tokenizer: Tokenizer, said: Sequence[int], context: int = 99, **options: bool) -> tuple[Reading, Reading]:
    """The reading of a text, and of the same with what a model that says those tokens says next."""
    reading = read("a", tokenizer, ())
    return reading, continued(Says([*said, tokenizer.separator], context), tokenizer, reading, **options)


class Weighs(Says):
    """Finds the next tokens so likely, whatever was read."""

    def __init__(self, scores: dict[int, float]) -> None:
        super().__init__(())
        self._scores = scores

    def step(self, *args: Any, **options: Any) -> torch.Tensor:
        logits = torch.zeros(1, 1, 999)
        for id, score in self._scores.items():
            logits[..., id] = score
        return logits


@pytest.mark.parametrize(("second", "said"), [(9.8, "."), (9.0, "s")])
def test_of_two_that_are_close_the_one_is_said_that_is_likelier_when_looked_at(
    fallback: Tokenizer, second: float, said: str
) -> None:
    """Else what the model says would not be what it expected."""
    s, stop = (fallback.encode(f"cat{text}").ids[-1] for text in ("s", "."))
    quick, exact = Weighs({s: 10.0, stop: second}), Weighs({s: 9.9, stop: 10.0})
    reading = read("cat", fallback, ())
    found = continued(quick, fallback, reading, tokens=True, exact=lambda said: exact.step()[0, -1])
    assert found.words[-1].text == said
    assert continued(quick, fallback, reading, tokens=True).words[-1].text == "s"


@pytest.mark.parametrize(
    ("said", "text", "word"),
    [
        (" cat sat", " cat", "cat"),
        (" cats sat", " cats", "cats"),  # of several tokens
        (" cat. A", " cat", "cat"),  # a sign is a word of its own
        (". A", ".", "."),
        ("...and", "...", "..."),
        (" don't be", " don't", "don't"),  # which is one word wherever words are cut
        (" don, be", " don", "don"),
        (" 3.14 is", " 3.14", "3.14"),
        (" 3. It", " 3", "3"),
        ("\n\n cat sat", "\n\n cat", "cat"),  # white space in front is part of the text, and of what is said
        (" é ü", " é", "é"),  # characters spread over tokens
        (" naïveté ü", " naïveté", "naïveté"),
        (" 人在", " 人", "人"),
        ("🍎 a", "🍎", "🍎"),
        (" 👩‍🚀 a", " 👩‍🚀", "👩‍🚀"),
    ],
)
def test_the_word_is_cut_as_words_are(bytewise: Tokenizer, said: str, text: str, word: str) -> None:
    reading, found = after(bytewise, bytewise.encode(said).ids)
    last = found.words[-1]
    assert (found.text, last.text) == ("a" + text, word)
    assert found.text[last.start : last.end] == word
    assert found.words[:-1] == reading.words
    assert last.tokens == range(1, len(found.tokens))  # with the white space in front of it
    assert bytewise.decode(found.tokens) == found.text
    again = read(found.text, bytewise, ())
    assert again.tokens == found.tokens
    if text[0].isspace():
        assert again.words == found.words


def test_a_run_of_bytes_is_told_apart_from_what_follows(fallback: Tokenizer) -> None:
    for said, word in ((" 🍎 cat a", "🍎"), (" é. a", "é"), (" cat 🍎 a", "cat"), (" cats. a", "cats")):
        ids = fallback.encode(said.removeprefix(" ")).ids
        _, found = after(fallback, ids)
        assert found.words[-1].text == word
        assert (
            fallback.decode([*fallback.encode("b").ids, *found.tokens[-len(found.words[-1].tokens) :]]) == f"b {word}"
        )


@pytest.mark.parametrize(("said", "word"), [(" cat", "cat"), (" don", "don"), (" don'", "don"), ("\n\n", "\n\n")])
def test_where_the_text_ends_the_word_does(bytewise: Tokenizer, said: str, word: str) -> None:
    _, found = after(bytewise, bytewise.encode(said).ids)
    assert found.words[-1].text == word
    assert found.text == "a" + said.removesuffix("'")
    _, found = after(bytewise, [])
    assert (found.text, found.words[-1].text) == ("a", END)
    assert found.tokens[-1] == bytewise.separator
    assert (found.words[-1].start, found.words[-1].end, found.words[-1].tokens) == (1, 1, range(1, 2))


def test_half_a_character_is_shown_as_the_decoder_shows_it(bytewise: Tokenizer) -> None:
    half = bytewise.encode("é").ids[:1]
    reading, found = after(bytewise, half)
    assert (found.text, found.words[-1].text, found.tokens) == ("a\ufffd", "\ufffd", (*reading.tokens, *half))


def test_no_word_is_longer_than_what_is_taken_for_whole_or_than_the_context(bytewise: Tokenizer) -> None:
    _, found = after(bytewise, bytewise.encode("x" * 99).ids)
    assert found.words[-1].text == "x" * LONGEST
    for context in (2, 3, 7):
        _, found = after(bytewise, bytewise.encode("x" * 99).ids, context)
        assert len(found.tokens) == context
        assert found.words[-1].text == "x" * (context - 1)


def test_where_each_token_is_a_word_the_next_one_is_a_token(bytewise: Tokenizer) -> None:
    for said, word, count in ((" cats", "cat", 1), ("\n\n cat", "cat", 2), ("éx", "é", 2)):
        _, found = after(bytewise, bytewise.encode(said).ids, tokens=True)
        assert (found.words[-1].text, len(found.words[-1].tokens)) == (word, count)


def test_it_is_what_the_model_says_by_whole_forwards(model: limelight.Model) -> None:
    for text in (TEXT, "w40", "w20 w30 w40 w50"):
        seen = model.look(text)
        tokens = plainly.ids_of(model, text)
        best = int(plainly.scores(model, tokens)[-1].argmax())
        ahead = seen.ahead
        assert ahead is seen.ahead  # looked at once
        assert (ahead.ids, seen.ids) == ((*tokens, best), tuple(tokens))
        if best not in model.tokenizer.controls:
            assert ahead.text == f"{text} {model.tokenizer.spell(best).strip()}"
        assert [word.text for word in ahead.words[:-1]] == text.split()
        found = seen.importance(check=False, method="blocking")
        assert found.target == ahead.words[-1]
        assert (found.rank, found.expected) == (1, model.tokenizer.spell(best).strip())
        assert found.logprob == pytest.approx(plainly.said(model, tokens, best), abs=1e-5)
        assert found == ahead.importance(len(ahead.words), check=False, method="blocking")
        assert len(found.words) == len(text.split())
        for place, heard in enumerate(found.words, 1):
            lost = plainly.deleted if heard.asks else plainly.blocked
            assert heard.importance == pytest.approx(lost(model, tokens, [place], best), abs=2e-4)


@pytest.mark.parametrize("measured", [24, 4])
def test_what_was_read_to_find_the_word_is_not_read_again(
    model: limelight.Model, monkeypatch: pytest.MonkeyPatch, measured: int
) -> None:
    """Whether all words are measured or those that one reading proposes."""
    for user in ("importance", "measured"):
        monkeypatch.setattr(f"limelight.look.{user}.ALL", measured)
    expected = model.look(TEXT).importance(check=False)
    monkeypatch.setattr("limelight.look.next_word.CLOSE", float("inf"))
    seen = model.look(TEXT)
    read: list[int] = []
    seen._network.decoder.register_forward_hook(lambda module, inputs, output: read.append(output.shape[1]))
    assert len(seen.ahead.ids) == len(seen.ids) + 1
    assert read.count(len(seen.ids)) == 1
    read.clear()
    found = seen.importance(check=False)
    assert not read
    assert [word.importance for word in found.words] == [word.importance for word in expected.words]
    assert (found.named, found.rank, found.expected) == (expected.named, expected.rank, expected.expected)
    assert [(link.layer, link.head, link.source, link.target) for link in found.links] == [
        (link.layer, link.head, link.source, link.target) for link in expected.links
    ]


def test_it_begins_as_greedy_completion_does(model: limelight.Model, tmp_path: Path) -> None:
    """Behind the token that attention rests on, which a tokenizer that expects it puts in front of every text."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import processors

    limelight.save(model, tmp_path)
    inner = Inner.from_file(str(tmp_path / "tokenizer.json"))
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    inner.save(str(tmp_path / "tokenizer.json"))
    prefixed = limelight.open(tmp_path, kind=limelight.Model)
    assert prefixed.tokenizer.prefix == (1,)
    for text in (TEXT, "w40", "w20 w30 w40 w50"):
        said = prefixed.complete(text, max_tokens=4).text.split()
        ahead = prefixed.look(text).ahead
        assert ahead.words[-1].text == (said[0] if said else END)


def test_a_text_that_fills_the_context_has_no_next_word(model: limelight.Model) -> None:
    full = model.look(" ".join(["w5"] * 127))
    with pytest.raises(RequestError, match="fills all that the model sees"):
        full.importance()
    with pytest.raises(RequestError, match="fills all that the model sees"):
        full.check_question()
    assert len(model.look(" ".join(["w5"] * 126)).ahead.ids) == 128
