"""Encoders that learn from pairs of texts: where an answer stands, and which texts belong together."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from references import write_marked_tokenizer
from transformers import AutoModelForQuestionAnswering

import limelight
from limelight.checkpoints.save import save_checkpoint
from limelight.checkpoints.sentences import Sentences
from limelight.errors import FileError, LimelightError, RequestError
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.registry import config_from_hf
from limelight.tasks.evaluation.encoders import judge_answers, judge_vectors, overlap
from limelight.tasks.evaluation.measures import spearman
from limelight.tasks.learn import Begun, learn
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import IGNORE, Batch
from limelight.train.contrast import Pairing
from limelight.train.loop import Result
from limelight.train.questions import questions
from limelight.train.similar import Beside, beside, columns

FEW = {"threads": 1, "batch_tokens": 512, "precision": "float32", "lr": 4e-3, "dropout": 0.0}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An encoder that knows nothing yet, in a folder that says how much of a text it reads."""
    folder = tmp_path_factory.mktemp("base")
    write_marked_tokenizer(folder)
    network = build(config_from_hf({"model_type": "bert", "vocab_size": 99, "architectures": ["BertModel"], **SIZES}))
    initialise(network, torch.Generator().manual_seed(0))
    save_checkpoint(network, Tokenizer.from_folder(folder), folder / "model", said=Sentences(64, {"query": "w7 "}))
    return str(folder / "model")


def train(task: str, data: Path, out: Path, base: str, **options: object) -> tuple[Result, Begun]:
    told: list[Begun] = []
    given = {"task": task, "train": [str(data)], "model": base, **FEW, **options}
    return learn(given, out, begun=told.append), told[0]


def squad(path: Path, asked: list[tuple[str, str, str]]) -> Path:
    """Questions, texts and answers as SQuAD has them; an empty answer is none."""
    parts = [
        {
            "context": text,
            "qas": [
                {
                    "question": question,
                    "is_impossible": not answer,
                    "answers": [{"text": answer, "answer_start": text.find(answer)}] if answer else [],
                }
            ],
        }
        for question, text, answer in asked
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": parts}]}))
    return path


def test_an_answer_is_learned_marked_judged_and_looked_at(base: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    asked = []
    for number in range(100):
        words = [f"w{draw.randrange(10, 30)}" for _ in range(6)]
        if number % 4:
            words[draw.randrange(6)] = "w5"
        asked.append(("w40 w41", " ".join(words), "w5" if number % 4 else ""))
    data = squad(tmp_path / "squad.json", asked)
    result, begun = train("answer", data, tmp_path / "run", base, steps=60, every=60)
    assert result.metric == "exact"
    assert begun.examples == 98
    model = limelight.open(tmp_path / "run", kind=limelight.SpanModel)
    text = "w12 w13  w5 w14"
    found, none = model.answer("w40 w41", [text, "w12 w13 w14"])
    assert (found.text, found.start, found.end) == ("w5", 9, 11)
    assert none.text == ""
    judged = judge_answers(model, list(questions([data]))[:8])
    assert judged.exact.value == judged.f1.value == 100
    theirs = AutoModelForQuestionAnswering.from_pretrained(result.model)
    tokens, types = model.encode_pair("w40 w41", text)
    with torch.no_grad():
        start = theirs(torch.tensor([tokens]), token_type_ids=torch.tensor([types])).start_logits[0]
    assert int(start.argmax()) == tokens.index(5)
    seen = model.look(text, "w40 w41")
    assert seen.importance(check=False).target.text == "w5"
    against = seen.importance("w5 w14", foil="w12", check=False)
    assert (against.target.start, against.target.end, against.foil) == (9, 15, "w12")
    for wrong, message in (("w99", "does not stand in the text"), ("w13", "begins or ends where")):
        with pytest.raises(LimelightError, match=message):
            seen.importance("w13", foil=wrong)
    with pytest.raises(LimelightError, match="marks an answer in a text; name the question"):
        model.look(text).importance()


def test_windows_without_the_answer_say_so(base: str, tmp_path: Path) -> None:
    text = " ".join(["w10"] * 60 + ["w5"] + ["w11"] * 60)
    data = squad(tmp_path / "squad.json", [("w40", text, "w5")] * 3)
    _, begun = train("answer", data, tmp_path / "run", base, steps=1, longest=64)
    assert begun.examples == 8  # of three windows for each, one was kept back


def test_questions_are_read_from_tables_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,context,answer\nWho?,Ada wrote it.,Ada\nWhen?,Ada wrote it.,\n")
    assert [each.answers for each in questions([path])] == [((0, "Ada"),), ()]
    path = tmp_path / "a.jsonl"
    row = {"question": "Who?", "context": "By Ada.", "answers": {"text": ["Ada"], "answer_start": [3]}}
    rows = [row, row | {"answers": {"text": [], "answer_start": []}}, row | {"answer": "By"}, row]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [each.answers for each in questions([path])] == [((3, "Ada"),), (), ((3, "Ada"),), ((3, "Ada"),)]
    path.write_text(json.dumps(row | {"answers": {"text": ["Ada"], "answer_start": [2]}}))
    with pytest.raises(LimelightError, match="row 1: the answer 'Ada' does not stand"):
        list(questions([path]))
    (tmp_path / "b.json").write_text('{"data": [{}]}')
    with pytest.raises(LimelightError, match="not written as SQuAD is"):
        list(questions([tmp_path / "b.json"]))


def test_answers_share_words_as_squad_counts_them() -> None:
    assert overlap("The Jane Austen!", "jane austen") == 1
    assert overlap("Jane Austen", "Jane") == pytest.approx(2 / 3)
    assert (overlap("", ""), overlap("", "Jane")) == (1, 0)


@pytest.mark.parametrize("scored", [False, True])
def test_vectors_are_learned_from_texts_that_belong_together(base: str, tmp_path: Path, scored: bool) -> None:
    draw = random.Random(0)
    rows = []
    for number in range(48 if scored else 96):
        word, other = f"w{10 + number % 12}", f"w{30 + number % 12}"
        far = f"w{30 + (number + 1 + number // 12) % 12}"
        noise = f"w{draw.randrange(60, 70)}"
        rows += (
            [f"{noise} {word},{other},5", f"{noise} {word},{far},{-1 - number % 3}"] if scored else [f"{word},{other}"]
        )
    data = tmp_path / "pairs.csv"
    data.write_text("\n".join(["sentence1,sentence2,score" if scored else "anchor,positive", *rows]))
    before = limelight.open(base, kind=limelight.Embedder)
    result, begun = train("embed", data, tmp_path / "run", base, steps=30, every=30)
    assert begun.said == (f"columns: sentence1, sentence2{', score' if scored else ''}",) or not scored
    model = limelight.open(result.model, kind=limelight.Embedder)
    assert model.sentences == before.sentences  # what the folder says of texts is still said
    pairs = [each for each in beside([data], columns([data])) if each][:24]
    if scored:
        assert result.metric == "spearman"
        old, new = (judge_vectors(each, pairs).rank for each in (before, model))
    else:
        assert result.metric == "ranked"
        old, new = (judge_vectors(each, pairs[:12]).first for each in (before, model))
    assert old is not None
    assert new is not None
    assert new.value > old.value + 20


def test_a_loss_is_what_its_paper_says() -> None:
    """Pairs, a text that is twice among the seconds, scores, labels: each beside the same sum written out."""
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(6, 8), dim=-1)

    class Fixed(torch.nn.Module):
        def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return vectors

    tokens = torch.tensor([[1], [2], [3], [4], [5], [4]])
    batch = Batch(tokens, torch.zeros(3, dtype=torch.int64), None, torch.ones(6, dtype=torch.int64))
    loss = Pairing(Fixed())  # type: ignore[arg-type]
    cosines = 20 * vectors[:3] @ vectors[3:].T
    rows = [cosines[0, [0, 1]], cosines[1], cosines[2, [2, 1]]]  # the first and the third second text are the same
    wanted = sum(
        row.logsumexp(0) - own for row, own in zip(rows, (cosines[0, 0], cosines[1, 1], cosines[2, 2]), strict=True)
    )
    assert float(loss(batch)[0]) == pytest.approx(float(wanted), rel=1e-5)
    near = cosines.diagonal()
    scored = Batch(tokens, batch.targets, None, batch.lengths, torch.tensor([2.0, 1.0, 1.0]))
    wanted = 3 * torch.log(1 + (near[1] - near[0]).exp() + (near[2] - near[0]).exp())
    assert float(loss(scored)[0]) == pytest.approx(float(wanted), rel=1e-5)
    some = torch.tensor([0, IGNORE, 0])  # a row that another process computes asks for nothing
    alone = rows[0].logsumexp(0) - cosines[0, 0] + rows[2].logsumexp(0) - cosines[2, 2]
    learned, plain = loss(Batch(tokens, some, None, batch.lengths)).tolist()
    assert learned == plain == pytest.approx(float(alone), rel=1e-5)
    scored = Batch(tokens, some, None, batch.lengths, torch.tensor([2.0, 1.0, 1.0]))
    assert float(loss(scored)[0]) == pytest.approx(float(2 * torch.log(1 + (near[2] - near[0]).exp())), rel=1e-5)


def test_a_row_of_texts_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"a": " w5 ", "b": 6, "c": "0.5"}, {"a": "w5", "b": None, "c": 1}, {"a": "w5", "b": " ", "c": 2}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(beside([path], "abc")) == [Beside(("w5", "6"), 0.5), None, None]
    assert list(beside([path], "ab")) == [Beside(("w5", "6")), None, None]
    assert next(iter(beside([path], "cba"))) == Beside(("0.5", "6", "w5"))
    for name, why in (("d", r"row 1: no column 'd' \(its columns: a, b, c\)"), ("b", "row 2: 'b' holds no number")):
        with pytest.raises(FileError, match=why):
            list(beside([path], ("a", "c", name)))
    path.write_text(json.dumps({"a": "w5", "b": "w6", "c": "nan"}))
    assert list(beside([path], "abc")) == [Beside(("w5", "w6", "nan"))]


def test_rank_correlation_shares_the_places_of_equal_numbers() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1, 2, 3.5, 3.5: a covariance of 3.75 over 4.5."""
    found = spearman(np.array([1.0, 2.0, 2.0, 3.0]), np.array([10, 20, 30, 30]), sampled=False)
    assert found.value == pytest.approx(100 * 3.75 / 4.5)


@pytest.mark.parametrize(
    ("task", "name", "text", "message"),
    [
        ("answer", "a.json", '{"data": []}', "no question has an answer"),
        ("answer", "a.csv", "question,text\nw5,w6\n", "no column named answers or answer"),
        ("embed", "a.csv", "anchor,positive,score\nw5,w6,1\nw5,w7,1\n", "all scores are 1"),
        ("embed", "a.csv", "anchor,positive,score\nw5,w6,1\nw5,w7,x\n", "row 2: 'score' holds no number"),
        ("embed", "a.csv", "text,b,c,d\nw5,w6,1,2\n", "name them with --columns"),
        ("embed", "a.txt", "w5", "read from tables"),
    ],
)
def test_what_cannot_be_learned_is_said_at_once(
    base: str, tmp_path: Path, task: str, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(LimelightError, match=message):
        train(task, tmp_path / name, tmp_path / "run", base)
    assert not (tmp_path / "run" / "settings.toml").exists()


@pytest.mark.parametrize(
    "names", ["sentence1 sentence2", "text1 text2", "anchor positive", "query positive", "question answer"]
)
def test_columns_are_known_by_their_usual_names(names: str, tmp_path: Path) -> None:
    one, other = names.split()
    for third in ("score", "negative"):
        (tmp_path / "a.csv").write_text(f"id,{other},note,{third},{one}\n1,w6,x,1,w5\n")
        assert columns([tmp_path / "a.csv"]) == (one, other, third)
    (tmp_path / "a.csv").write_text(f"id,{other},note,{one}\n1,w6,x,w5\n")
    assert columns([tmp_path / "a.csv"]) == (one, other)
    (tmp_path / "a.csv").write_text(f"id,{other},note,else\n1,w6,x,w5\n")
    with pytest.raises(RequestError, match=f"which of the columns id, {other}, note, else hold"):
        columns([tmp_path / "a.csv"])
