"""A tokenizer's roles, refusals, bytes and switches, each held as a whole, and the windows of long texts."""

import json

import pytest
import tokenizers
from tiny import byte_level
from tokenizers import models, pre_tokenizers, processors

from limelight.errors import RequestError, TextError
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer, to_gguf
from limelight.text.windows import windows


def test_a_role_is_found_by_its_name_and_the_rest_by_use() -> None:
    names = ["<unk>", "<mask>", "[MASK]", "<s>", "</s>", "<pad>", "a", "b", "ac", "[CLS]", "[SEP]"]
    inner = tokenizers.Tokenizer(models.WordLevel({name: id for id, name in enumerate(names)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] <s> $B:1 [SEP]:1", [("[CLS]", 9), ("[SEP]", 10), ("<s>", 3)]
    )
    inner.add_special_tokens(["<mask>"])
    ours = Tokenizer(Parts(inner, bos="<s>", eos="[SEP]", pad="<pad>", unk="<unk>", ends=(7,)))
    assert (ours.vocab, ours.bos, ours.pad, ours.mask) == (11, 3, 5, 1)
    assert ours.controls == {0, 1, 3, 5, 10}
    assert ours.eos == {10, 7}
    assert (ours.prefix, ours.suffix, ours.between, ours.second) == ((9,), (10,), (10, 3), 1)
    assert (ours.byte_pieces, ours.byte_level, ours.separator) == (frozenset(), False, 9)
    assert json.loads(ours.definition)["post_processor"]["type"] == "TemplateProcessing"
    assert ours._inner.post_processor is None
    bare = Tokenizer(Parts(tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, "<unk>"))))
    assert (bare.prefix, bare.suffix, bare.between, bare.second) == ((), (), (), 1)
    assert (bare.bos, bare.pad, bare.mask, bare.eos, bare.controls) == (None, None, None, set(), set())


def test_a_separator_is_a_bos_before_it_is_an_eos() -> None:
    for bos, ends, separator in (("<b>", (), 1), (None, (3, 2), 2)):
        inner = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "<b>": 1, "x": 2, "y": 3}, "<unk>"))
        assert Tokenizer(Parts(inner, bos=bos, ends=ends)).separator == separator


def test_what_is_no_token_or_no_id_is_refused_in_a_sentence() -> None:
    ours = Tokenizer(Parts(byte_level("smollm")))
    whole = "they must be a list of whole numbers from 0"
    for use, why in (
        (lambda: ours.token(ours.vocab), f"no token has the id {ours.vocab}: this vocabulary has {ours.vocab} tokens"),
        (lambda: ours.token(-1), f"no token has the id -1: this vocabulary has {ours.vocab} tokens"),
        (lambda: ours.token(2**32), f"no token has the id 4294967296: this vocabulary has {ours.vocab} tokens"),
        (lambda: ours.id(""), "'' is not one token of this model but 0"),
        (lambda: ours.decode("12"), f"ids are '12'; {whole}"),
        (lambda: ours.decode(b"12"), f"ids are b'12'; {whole}"),
        (lambda: ours.decode([-1]), f"ids are [-1]; {whole}"),
        (lambda: ours.decode(["a"]), f"ids are ['a']; {whole}"),
        (lambda: ours.encode("\ud800"), "the text is not Unicode: it holds half a surrogate pair, "
         "which is what bytes that are not UTF-8 become"),
    ):  # fmt: skip
        with pytest.raises(RequestError) as refused:
            use()
        assert str(refused.value) == why
    assert ours.spell(2**32) == "<unused 4294967296>"
    assert ours.raw(2**32 - 1) == b"<unused 4294967295>"
    assert ours.spell(ours.vocab) == f"<unused {ours.vocab}>"


def test_bytes_are_written_once_and_unknown_ids_write_none() -> None:
    inner = byte_level("smollm")
    inner.add_tokens(["añ→"])  # with an arrow, a letter that stands for no byte
    ours = Tokenizer(Parts(inner))
    added = inner.token_to_id("añ→")
    assert ours.byte_level
    assert ours.written(added) == ours.raw(added) == "añ→".encode()
    assert (ours.written(ours.id(" the")), ours.written(ours.vocab + 1)) == (b" the", b"")
    assert ours._written == {added: "añ→".encode(), ours.id(" the"): b" the", ours.vocab + 1: b""}
    assert ours.spell(added) == "añ→"
    ours._spelled[added], ours._written[added] = "kept", b"kept"
    assert (ours.spell(added), ours.written(added)) == ("kept", b"kept")


def test_switches_hold_for_one_text_alone() -> None:
    ours = Tokenizer(Parts(byte_level("smollm"), eos="<|im_end|>"))
    end = ours.id("<|im_end|>")
    text = "the<|im_end|>"
    plain, marked = ours.encode(text), ours.encode(text, special=True)
    assert marked.ids[-1] == end
    assert marked.offsets[-1] == (3, len(text))
    assert end not in plain.ids
    assert ours.encode_many([text]) == [plain.ids]
    assert ours.encode(text) == plain
    assert (ours.decode(marked.ids), ours.decode(marked.ids, special=True)) == ("the", text)
    assert ours.decode(iter(marked.ids)) == "the"


def test_a_template_is_changed_in_a_copy_and_given_what_it_asks_for() -> None:
    parts = Parts(byte_level("smollm"), bos="<|im_start|>", eos="<|im_end|>", pad="<|endoftext|>", template="old")
    ours = Tokenizer(parts)
    asks = "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token is defined }}{{ tools }}{{ kind }}"
    other = ours.with_template(asks + "{{ add_generation_prompt }}{{ messages[0].content }}")
    assert (ours.template, other._inner is ours._inner) == ("old", False)
    messages = [{"role": "user", "content": "Hi"}]
    front = "<|im_start|><|im_end|><|endoftext|>False"
    assert other.chat(messages, variables={"kind": "x"}) == f"{front}NonexTrueHi"
    assert other.chat(messages, reply=False, tools=[{"type": "f"}]) == front + "[{'type': 'f'}]FalseHi"
    for wrong, name in (({"tools": [3]}, "tool 1"), ({"tools": 3}, "tools"), ({"variables": 3}, "variables")):
        with pytest.raises(RequestError, match=rf"^(?:the )?{name}\b"):
            other.chat(messages, **wrong)
    with pytest.raises(TextError, match="is damaged"):
        Tokenizer(Parts(byte_level("smollm"), template="\ud800"))


@pytest.mark.parametrize(("front", "back"), [(False, False), (True, False), (True, True), (False, True)])
def test_a_tokenizer_for_gguf_has_bos_and_eos_around_a_text_and_nothing_else(front: bool, back: bool) -> None:
    def around(first: str, last: str, more: str = "") -> Tokenizer:
        inner = byte_level("smollm")
        pieces = " ".join(filter(None, (first if front else "", "$A", last if back else "", more)))
        inner.post_processor = processors.TemplateProcessing(
            pieces, None, [(name, inner.token_to_id(name)) for name in ("<|im_start|>", "<|im_end|>", "<tool>")]
        )
        return Tokenizer(Parts(inner, bos="<|im_start|>", eos="<|im_end|>"))

    said = to_gguf(around("<|im_start|>", "<|im_end|>"), 400)
    assert said.get("tokenizer.ggml.add_bos_token", False) is front
    assert said.get("tokenizer.ggml.add_eos_token", False) is back
    wrong = [around("<|im_start|>", "<|im_end|>", "<tool>")]
    wrong += [around("<tool>", "<|im_end|>")] if front else []
    wrong += [around("<|im_start|>", "<|im_end|>", "<|im_end|>")] if back else []
    for each in wrong:
        with pytest.raises(TextError, match=r"puts other tokens around a text than bos and eos$"):
            to_gguf(each, 400)


@pytest.mark.parametrize(
    ("length", "room", "overlap", "parts"),
    [
        (0, 5, 2, [range(0)]),
        (5, 5, 2, [range(5)]),
        (6, 5, 2, [range(5), range(3, 6)]),
        (8, 5, 2, [range(5), range(3, 8)]),
        (9, 5, 2, [range(5), range(3, 8), range(6, 9)]),
        (4, 2, 0, [range(2), range(2, 4)]),
    ],
)
def test_windows_overlap_and_end_with_the_text(length: int, room: int, overlap: int, parts: list[range]) -> None:
    assert list(windows(length, room, overlap)) == parts
