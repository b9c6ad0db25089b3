"""Conversations as files hold them: every form as messages, every fault with its place, and rows of tokens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.tiny_models import trained

from limelight.errors import FileError, LimelightError, RequestError, TextError
from limelight.text.tokenizer import Tokenizer
from limelight.train.chats import Chat, Preference, chats, conversing, encoded, preferences
from limelight.train.tokenizers import train_tokenizer


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ASKED, ANSWERED = said("user", "Who sat?"), said("assistant", "A cat.")
MESSAGES, SHARED, ALPACA, PROMPTED = (
    "messages with role and content",
    "ShareGPT's from and value",
    "Alpaca's instruction, input and output",
    "prompt and completion",
)
BRIEF = said("system", "Be brief.")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": []}, (MESSAGES, ())),
        ({"messages": "Who sat?"}, (MESSAGES, (ASKED,))),
        ({"conversations": "Who sat?"}, (SHARED, (ASKED,))),
        ({"prompt": "Who sat?"}, (PROMPTED, (ASKED,))),
        ({"instruction": "Who sat?"}, (ALPACA, (ASKED,))),
        ({"instruction": None, "input": "Who sat?"}, (ALPACA, (ASKED,))),
        ({"messages": [ASKED], "system": 3}, (MESSAGES, (ASKED,))),
        (
            {"conversations": [{"from": "human", "value": "Who sat?"}], "system": "Be brief."},
            (SHARED, (BRIEF, ASKED)),
        ),
        ({"prompt": "Who sat?", "completion": "A cat.", "system": "Be brief."}, (PROMPTED, (BRIEF, ASKED, ANSWERED))),
        ({"prompt": [ASKED], "completion": [ANSWERED, ASKED]}, (PROMPTED, (ASKED, ANSWERED))),
        ({"messages": [ASKED, ANSWERED, BRIEF, ASKED]}, (MESSAGES, (ASKED, ANSWERED))),
        (
            {"messages": [{**ASKED, "content": [{"type": "text"}, {"type": "text", "text": "Who sat?"}]}]},
            (MESSAGES, (ASKED,)),
        ),
        (
            {"messages": [{**ASKED, "from": "gpt", "value": "x", "name": "Ann"}]},
            (MESSAGES, ({**ASKED, "name": "Ann"},)),
        ),
    ],
)
def test_every_form_is_read_as_messages(
    tmp_path: Path, row: dict[str, Any], expected: tuple[str, tuple[dict[str, Any], ...]]
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([row, row], indent=2))  # over several lines
    assert list(chats([path])) == [Chat(*expected)] * 2


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (
            {"text": "x"},
            'no conversation; it takes "messages", "conversations", "instruction" and "output", or "prompt" and'
            ' "completion"',
        ),
        ({"messages": {}}, 'a conversation is a list of objects such as {"role": "user", "content": "Hello"}'),
        ({"messages": [1]}, 'a conversation is a list of objects such as {"role": "user", "content": "Hello"}'),
        (
            {"messages": [{"role": ["user"], "content": "x"}]},
            "the role ['user'] is none of system, user, assistant, tool, developer, human, gpt, bot, model, function,"
            " observation",
        ),
        ({"prompt": [said("user", ["x"])]}, "a turn holds something that is no text"),  # type: ignore[arg-type]
        ({"conversations": [{"from": "human", "value": 3}]}, "a turn holds something that is no text"),
        ({"instruction": 3}, "a turn holds something that is no text"),
        ({"instruction": "x", "output": {}}, "a turn holds something that is no text"),
        (
            {"prompt": "x", "completion": 3},
            'a conversation is a list of objects such as {"role": "user", "content": "Hello"}',
        ),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    good = {"messages": [ASKED]}
    for name, text, place in (
        ("a.jsonl", f"{json.dumps(good)}\n\n{json.dumps(row)}\n", "line 3"),
        ("a.json", json.dumps([good, row]), "row 2"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(FileError) as refused:
            list(chats([path]))
        assert str(refused.value) == f"{path}, {place}: {fault}"


@pytest.mark.parametrize(
    ("name", "text", "kind", "fault"),
    [
        ("a.csv", "x", RequestError, "conversations are read from .jsonl and .json (also .gz, .xz)"),
        ("a.json", "[{]", FileError, "not valid JSON: Expecting property name"),
        ("a.json", "[" * 100_000, FileError, "not valid JSON: "),
        ("a.json", '{"messages": []}', FileError, "holds no list of JSON objects"),
        ("a.json", "[{}, 1]", FileError, "holds no list of JSON objects"),
    ],
)
@pytest.mark.parametrize("read", [chats, preferences])
def test_other_files_are_refused(
    tmp_path: Path, read: Callable[..., object], name: str, text: str, kind: type[LimelightError], fault: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(kind) as refused:
        list(read([path]))  # type: ignore[call-overload]
    assert str(refused.value).startswith(f"{path}: {fault}")


def test_pairs_of_answers_are_read_with_what_was_asked(tmp_path: Path) -> None:
    other = said("assistant", "A dog.")
    chosen = {"chosen": "A cat.", "rejected": "A dog."}
    rows = [
        {"messages": [ASKED], **chosen},
        {"conversations": [{"from": "human", "value": "Who sat?"}], **chosen},
        {"instruction": "Who sat?", "output": "x", **chosen},
        {"prompt": "Who sat?", "completion": "x", **chosen},
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, other]},
        {"prompt": "Who sat?", "chosen": [ASKED, ANSWERED], "rejected": [ASKED, other]},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    forms = [MESSAGES, SHARED, ALPACA, PROMPTED, MESSAGES, PROMPTED]
    found = list(preferences([path]))
    assert found == [Preference(form, (ASKED,), ANSWERED, other) for form in forms]
    assert found[1].both == (Chat(SHARED, (ASKED, ANSWERED)), Chat(SHARED, (ASKED, other)))
    assert found[0].fault is None
    assert Preference("", (ASKED,), ANSWERED, said("assistant", " ")).fault == "with an empty turn"
    assert Preference("", (ASKED, ASKED), ANSWERED, other).fault == "with turns out of order"
    assert Preference("", (ASKED,), other, other).fault == "whose two answers are one"
    for row, fault in (
        ({"prompt": "x", "rejected": "y"}, 'no "chosen" and "rejected" answer'),
        ({"prompt": "x", **chosen, "chosen": [ASKED, ANSWERED]}, "the two conversations differ before their last turn"),
    ):
        path.write_text(json.dumps(row))
        with pytest.raises(FileError) as refused:
            list(preferences([path]))
        assert str(refused.value) == f"{path}, line 1: {fault}"


def test_a_plain_template_has_the_marks_of_the_model() -> None:
    tokenizer = conversing(train_tokenizer(["Who sat ? A cat ."], "character", 50, document=True))
    assert tokenizer.chat([ASKED, ANSWERED, ASKED]) == (
        "<bos>### user\nWho sat?\n\n### assistant\nA cat.<eos>\n\n### user\nWho sat?\n\n### assistant\n"
    )
    assert conversing(tokenizer) is tokenizer


def templated(template: str) -> Tokenizer:
    return trained(None).with_template(template)


TURN = "{{ m.role }}: {{ m.content }}<|im_end|>"
OPEN = "{% if add_generation_prompt %}assistant: {% endif %}"


def test_tools_are_shown_wherever_a_template_shows_them() -> None:
    tokenizer = templated("{{ tools | length }}{% for m in messages %}" + TURN + "{% endfor %}" + OPEN)
    ((ids, places),) = encoded(tokenizer, Chat("", (ASKED, ANSWERED), [{"name": "look"}] * 7))
    assert tokenizer.decode(ids, special=True) == "7user: Who sat?<|im_end|>assistant: A cat.<|im_end|>"
    assert tokenizer.decode(ids[places[0] : places[1]], special=True) == "A cat.<|im_end|>"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (
            "{% for m in messages %}" + TURN + "{% endfor %}{% if add_generation_prompt %}answer: {% endif %}",
            "the model's chat template shows an answer otherwise than it opens one, so it can't be learned",
        ),
        (
            "{% for m in messages %}" + TURN.replace("<|im_end|>", "\n") + "{% endfor %}" + OPEN,
            "the model's chat template puts no mark that ends a text behind an answer, so where to stop can't be"
            " learned",
        ),
    ],
)
def test_a_template_by_which_nothing_can_be_learned_is_refused(template: str, fault: str) -> None:
    with pytest.raises(TextError) as refused:
        list(encoded(templated(template), Chat("", (ASKED, ANSWERED))))
    assert str(refused.value) == fault
