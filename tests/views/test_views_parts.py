"""Parts of views by hand: words and their gaps, likely tokens, heads of cards, sentences, the page in one script."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from limelight.decode import Sampling
from limelight.errors import RequestError
from limelight.look.next_word import END
from limelight.models import config as c
from limelight.text.words import Word
from limelight.views import cards, encoded, frame, inside, saved
from limelight.views.numbers import dumps
from limelight.views.parts import last, likely, listed

TOKENIZER: Any = SimpleNamespace(controls={3}, spell="abcd".__getitem__, token="<{}>".format)
WORDS = [Word("the", 1, 4, range(2)), Word("cat", 5, 8, range(2, 3)), Word("the", 8, 11, range(3, 5))]


def test_a_text_is_cut_into_words_and_what_stands_between_them() -> None:
    assert listed(" the catthe.\n", WORDS, [7, 8, 9, 10, 11], TOKENIZER) == {
        "words": [
            {"gap": " ", "text": "the", "tokens": ["<7>", "<8>"]},
            {"gap": " ", "text": "cat", "tokens": ["<9>"]},
            {"gap": "", "text": "the", "tokens": ["<10>", "<11>"]},
        ],
        "tail": ".\n",
        "count": 5,
    }
    assert listed("  ", [], [1], TOKENIZER) == {"words": [], "tail": "  ", "count": 1}
    assert [last(WORDS, text) for text in ("the", "cat", "dog", None)] == [2, 1, 2, 2]


LOGITS = torch.tensor([0.25, 0.5, 0.05, 0.2]).log()[None]


@pytest.mark.parametrize(
    ("sampling", "kept", "cut"),
    [
        (Sampling(1.0), [0.5, 0.25, 0.2, 0.05], [None] * 4),
        (Sampling(0.0), [1, 0, 0, 0], [None, "temperature", "temperature", "temperature"]),
        (Sampling(1.0, top_k=2), [2 / 3, 1 / 3, 0, 0], [None, None, "top-k", "top-k"]),
        (Sampling(1.0, top_p=0.9), [0.5 / 0.95, 0.25 / 0.95, 0.2 / 0.95, 0], [None, None, None, "top-p"]),
        (Sampling(1.0, 3, 0.6), [2 / 3, 1 / 3, 0, 0], [None, None, "top-p", "top-k"]),
        (Sampling(0.5), [0.25 / 0.355, 0.0625 / 0.355, 0.04 / 0.355, 0.0025 / 0.355], [None] * 4),
    ],
)
def test_likely_tokens_are_told_with_what_settings_leave_of_them(
    sampling: Sampling, kept: list[float], cut: list[str | None]
) -> None:
    spelled = ["b", "a", END, "c"]  # the fourth token only steers
    found = likely(LOGITS, 2, TOKENIZER, sampling, 9)
    assert found == {
        "rows": [
            {"token": token, "share": pytest.approx(share), "kept": pytest.approx(left), "cut": by, "rank": rank}
            for rank, (token, share, left, by) in enumerate(
                zip(spelled, [0.5, 0.25, 0.2, 0.05], kept, cut, strict=True), 1
            )
        ],
        "asked": 3,
        "left": sum(left > 0 for left in kept),
    }


def test_a_token_that_is_not_among_the_likeliest_stands_behind_them_with_its_rank() -> None:
    def rows(own: int | None, n: int) -> tuple[list[tuple[str, int]], int | None]:
        found = likely(LOGITS, own, TOKENIZER, Sampling(1.0), n)
        return [(row["token"], row["rank"]) for row in found["rows"]], found["asked"]

    assert rows(2, 1) == ([("b", 1), ("c", 4)], 1)
    assert rows(0, 2) == ([("b", 1), ("a", 2)], 1)
    assert rows(1, 1) == ([("b", 1)], 0)
    assert rows(None, 2) == ([("b", 1), ("a", 2)], None)


def test_heads_are_measured_by_where_they_look() -> None:
    weights = torch.tensor(
        [
            [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25, 0.5, 0.25, 0.0], [0.5, 0.125, 0.25, 0.125]],
            [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        ]
    )
    # Words 2 and 3 may look back past the word before them, each at its strongest; both together, over two words.
    assert cards._back(weights, [0, 1, 2, 3]).tolist() == [(0.25 + 0.5) / 2, 0.0]
    assert cards._back(weights, [1]).tolist() == [0.125 / 2, 0.0]
    assert cards._before(weights).tolist() == pytest.approx([(0.5 + 0.5 + 0.25) / 3, 1.0])
    assert cards._rests(weights).tolist() == [0.0, 0.25]
    one = torch.tensor([[[0.5]]])
    assert [measure.tolist() for measure in (cards._back(one, [0]), cards._before(one), cards._rests(one))] == [
        [0.0],
        [0.0],
        [0.5],
    ]


def test_the_heads_that_do_most_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    back = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.75, 0.125, 0.125]]
    rests = [[0.125, 0.0, 0.0], [0.125, 0.125, 0.0], [0.25, 0.25, 0.125]]
    monkeypatch.setattr(cards, "_weights", lambda view: [torch.tensor([rests, back]), torch.tensor([before, rests])])
    view: Any = SimpleNamespace(words="abc")
    whole = [
        {"kind": "back", "layer": 0, "head": 1, "share": 0.75, "weights": back},
        {"kind": "before", "layer": 1, "head": 0, "share": 1.0, "weights": before},
        {"kind": "rests", "layer": 0, "head": 0, "share": pytest.approx(1 - 1 / 3), "weights": rests},
    ]
    assert cards.heads(view) == cards.heads(view, [0]) == cards.heads(view, [1, 2]) == whole  # near words are no aim
    assert cards.network(view) == [[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.75, 1.0, 0.125]]


def test_numbers_inside_are_told_with_the_strongest() -> None:
    grid = SimpleNamespace(
        strongest=lambda n: [(1, 0, 2.0), (0, 1, -0.5)][:n],
        columns=("a", "b"),
        values=torch.tensor([[0.25, -0.5], [2.0, 0.0]]),
        answer="x",
        foil=None,
    )
    assert inside._numbers(grid, "log-odds", sign=-1) == {
        "columns": ["a", "b"],
        "values": [[-0.25, 0.5], [-2.0, 0.0]],
        "strongest": [{"layer": 1, "column": 0, "value": -2.0}, {"layer": 0, "column": 1, "value": 0.5}],
        "unit": "log-odds",
        "answer": "x",
        "foil": None,
        "other": None,
    }
    assert inside._numbers(grid, "share", "other")["values"] == [[0.25, -0.5], [2.0, 0.0]]
    assert inside._numbers(grid, "share", "other")["other"] == "other"


def test_numbers_are_written_short_and_none_is_no_number() -> None:
    assert dumps({"é": [1, 0.5, None], "b": True}) == '{"\\u00e9":[1,0.5,null],"b":true}'
    for wrong in (math.nan, math.inf):
        with pytest.raises(RequestError, match=r"^the model's answer holds numbers that are none"):
            dumps([wrong])
    assert saved._short({"a": (1.23456789, 12345678), "b": {"c": [1e-9 / 3]}, "d": "1.23456789", "e": None}) == {
        "a": [1.234568, 12345678],
        "b": {"c": [3.333333e-10]},
        "d": "1.23456789",
        "e": None,
    }
    assert dumps(saved._rounded([[0.12345, 0.9996], [0.0004, 0.0]])) == "[[0.123,1.0],[0,0]]"


def test_a_script_holds_each_module_once_and_before_whoever_needs_it() -> None:
    modules = {
        "a.js": 'import { two } from "./b.js";\n// why\nexport const one = two;\n  export_not();\n',
        "b.js": "export async function two() {} // done\nexport const three = '// kept';\nconst own = 1;\n",
        "c.js": "never read",
    }
    main = 'import * as all from "./b.js";\nimport { one } from "./a.js";\none(all);'
    assert saved.linked(modules, main) == (
        "const modules = {};\n"
        'modules["b.js"] = (() => {\n'
        "async function two() {}\nconst three = '// kept';\nconst own = 1;\n\nreturn { two, three };\n})();\n"
        'modules["a.js"] = (() => {\n'
        'const { two } = modules["b.js"];\nconst one = two;\nexport_not();\n\nreturn { one };\n})();\n'
        'const all = modules["b.js"];\nconst { one } = modules["a.js"];\none(all);'
    )


def test_a_frame_is_one_element_and_a_sentence_where_it_is_taken_away() -> None:
    assert frame.framed("<p class=\"x\">'&amp;'</p>", "a < “b”") == (
        "<style>.limelight-told { display: none }</style><p class='limelight-told'>a &lt; “b”</p>"
        "<div style='height: 680px; resize: vertical; overflow: hidden'><iframe title='limelight'"
        " sandbox='allow-scripts allow-forms' style='border: 0; width: 100%; height: 100%'"
        " srcdoc='<p class=\"x\">&#39;&amp;amp;&#39;</p>'></iframe></div>"
    )


def test_question_and_answer_are_told_in_sentences() -> None:
    data = {
        "importance": {"foil": None, "word": 1, "told": [["It hangs on ", {"word": 0, "text": "“a”"}, "."], ["Sure."]]},
        "words": {"words": [{"text": "a"}, {"text": "b"}]},
        "model": {"name": "tiny"},
    }
    assert frame._told(data) == "Which words made tiny say “b”? It hangs on “a”. Sure."
    data["importance"]["foil"] = "c"
    assert frame._told(data) == "Which words made tiny say “b” and not “c”? It hangs on “a”. Sure."


def test_what_an_encoder_does_is_known_by_its_head() -> None:

    def does(head: Any) -> str:
        return encoded.reads(SimpleNamespace(config=SimpleNamespace(head=head)))  # type: ignore[arg-type]

    one, two = ("relevance",), ("good", "bad")
    assert does(c.SequenceClassifier(one)) == "score"
    assert does(c.SequenceClassifier(one, several=True)) == "classes"
    assert does(c.SequenceClassifier(two)) == does(c.SequenceClassifier(two, several=True)) == "classes"
    assert (does(c.TokenClassifier(two)), does(c.SpanHead()), does(None)) == ("tags", "span", "near")
