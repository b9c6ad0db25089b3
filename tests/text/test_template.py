"""Chat templates rendered: what a template is given, what becomes of one that fails, how much it may write."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from limelight.errors import RequestError, TextError
from limelight.text import chat, template
from limelight.text.template import rendered


def broken() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "{{ a }}\n  {% if b %}\nx{% endif %}\n",
            "1\nx",
        ),  # a block takes its line break and what stands before it along
        ("{{ missing }}{{ missing is defined }}", "False"),
        ("{% for i in l %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"),
        ("{% for i in l %}{{ i }}{% if i == 2 %}{% break %}{% endif %}{% endfor %}", "12"),
        ("<{% generation %}{{ a }}{% endgeneration %}>", "<1>"),
        ("{% set ns = namespace({'n': 1}, more=2) %}{% set ns.n = 5 %}{{ ns.n }}{{ ns.more }}", "52"),
        ("{{ d | tojson }}", '{"z": "é", "a": [1, null]}'),
        ("{{ d | tojson(indent=1) }}", '{\n "z": "é",\n "a": [\n  1,\n  null\n ]\n}'),
        ("{{ d | tojson(true, none, ['; ', '= '], true) }}", '{"a"= [1; null]; "z"= "\\u00e9"}'),
        ("{{ '<&>' }}", "<&>"),
    ],
)
def test_a_template_writes_as_hugging_face_renders_it(source: str, text: str) -> None:
    assert rendered(source, {"a": 1, "b": True, "l": [1, 2, 3], "d": {"z": "é", "a": [1, None]}}) == text


def test_the_time_is_that_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "datetime", SimpleNamespace(now=lambda: datetime(2024, 2, 29, 13, 5)))
    assert rendered("{{ strftime_now('%d %b %Y, %H:%M') }}", {}) == "29 Feb 2024, 13:05"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ raise_exception('') }}", "TemplateError"),  # of one without words, its kind
        ("{{ raise_exception('x' * 501) }}", "x" * 500),
        ("{% set ns = namespace() %}{% set ns._x = 1 %}", "a chat template may not set the private name '_x'"),
        ("{{ namespace(_x=1) }}", "a chat template may not set the private name '_x'"),
        ("{{ l.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
    ],
)
def test_what_fails_says_why(source: str, says: str) -> None:
    with pytest.raises(TextError) as refused:
        rendered(source, {"l": []})
    assert str(refused.value) == f"the model's chat template failed: {says}"


def test_who_has_no_memory_left_is_told_so_by_python() -> None:
    with pytest.raises(MemoryError):
        rendered("{{ f() }}", {"f": broken})


def test_a_template_may_write_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "LONGEST", 1000)
    written: list[int] = []
    source = "{% for i in range(n) %}{{ f(i) }}{% endfor %}"

    def write(number: int) -> str:
        written.append(number)
        return "x" * 100

    assert rendered(source, {"n": 10, "f": write}) == "x" * 1000
    written.clear()
    with pytest.raises(TextError, match=r"^the model's chat template writes more than 1,000 characters$"):
        rendered(source, {"n": 5000, "f": write})
    assert len(written) <= 12  # it ends there


def test_the_last_four_templates_are_kept_as_programs() -> None:
    template._compiled.cache_clear()
    first = template._compiled("0")
    for name in "123":
        template._compiled(name)
    assert template._compiled("0") is first
    for name in "4567":
        template._compiled(name)
    assert template._compiled("0") is not first


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of the process that renders."""
    found: list[Any] = []

    def apart(*called: Any, **options: Any) -> str:
        found.append((called, options))
        return "text"

    monkeypatch.setattr(chat, "apart", apart)
    return found


def test_what_a_template_is_given(asked: list[Any]) -> None:
    messages = [
        {"role": "user", "content": "a<|x|>b [", "name": None},
        {"role": "assistant", "reasoning": "r", "content": ["<|x|>", {"<|x|>": 1.5, "n": None, "t": (True, 2)}]},
        {"role": "assistant", "thinking": "t", "reasoning": "r"},
    ]
    text = chat.render(
        "the template",
        messages,
        reply=True,
        tokens={"bos_token": "<s>", "documents": "d"},
        controls=["<|x|>", "["],
        tools=[{"name": "<|x|>"}],
        variables={"think": False, "messages": "m", "add_generation_prompt": "<|x|>"},
    )
    broken = "<\u2060|x|>"
    values = {
        "documents": "d",
        "think": False,
        "messages": [
            {"role": "user", "content": f"a{broken}b ["},
            {
                "thinking": "r",
                "role": "assistant",
                "reasoning": "r",
                "content": [broken, {broken: 1.5, "n": None, "t": [True, 2]}],
                "reasoning_content": "r",
            },
            {"thinking": "t", "role": "assistant", "reasoning": "r", "reasoning_content": "t"},
        ],
        "tools": [{"name": broken}],
        "add_generation_prompt": True,
        "bos_token": "<s>",
    }
    renders = {"what": "the model's chat template", "keep": True}
    assert asked == [(("limelight.text.template.rendered", "the template", values), renders)]
    assert text == "text"
    chat.render("t", [{"a": "[\n"}], reply=False, tokens={}, controls=[])
    plain = {"documents": None, "messages": [{"a": "[\n"}], "tools": None, "add_generation_prompt": False}
    assert asked[1:] == [(("limelight.text.template.rendered", "t", plain), renders)]


def test_numbers_have_ten_thousand_bits_at_most(asked: list[Any]) -> None:
    def render(number: int) -> None:
        chat.render("t", [{"n": number}], reply=False, tokens={}, controls=[])

    render(2**9999 - 1)
    assert len(asked) == 1
    with pytest.raises(
        RequestError, match=r"^a message holds a int; it takes text, or lists and dicts of text and numbers$"
    ):
        render(2**9999)


def test_a_template_has_a_million_characters_at_most(asked: list[Any]) -> None:
    def render(source: str | None, messages: Any = ({"role": "user"},)) -> None:
        chat.render(source, messages, reply=True, tokens={}, controls=[])

    render("x" * 1_000_000)
    for source, says in (
        ("x" * 1_000_001, "the chat template has 1,000,001 characters; at most 1,000,000 are read"),
        (None, "this model has no chat template: it continues text, but was not made for conversation"),
    ):
        with pytest.raises(TextError, match=f"^{says}$"):
            render(source)
    with pytest.raises(RequestError, match=r"^the conversation is empty; give at least one message$"):
        render("t", [])
    with pytest.raises(
        RequestError, match=r'^a conversation is a list of messages such as {"role": "user", "content": "Hello"}$'
    ):
        render("t", [{}, "x"])
    assert len(asked) == 1
