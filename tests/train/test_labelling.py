"""Encoders that learn labels: what is found in the data, what is learned, and a run that goes on exactly."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from references import write_marked_tokenizer
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import FileError, LimelightError, RequestError
from limelight.models.build import build
from limelight.models.config import SequenceClassifier
from limelight.models.hf import SEVERAL
from limelight.models.init import initialise
from limelight.models.registry import config_from_hf
from limelight.tasks.evaluation.labels import judge_several
from limelight.tasks.learn import Begun, learn
from limelight.tasks.training.labelling import with_head
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Batch, padded
from limelight.train.contrast import Contrasting, fit, vectors
from limelight.train.examples import LABELS, TEXTS, columns, labelled, tagged
from limelight.train.loop import Result

FEW = {"threads": 1, "batch_tokens": 256, "precision": "float32", "lr": 4e-3, "dropout": 0.0}


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An encoder that knows nothing yet and has no head."""
    folder = tmp_path_factory.mktemp("base")
    write_marked_tokenizer(folder)
    config = config_from_hf({"model_type": "bert", "vocab_size": 99, "architectures": ["BertModel"], **SIZES})
    network = build(config)
    initialise(network, torch.Generator().manual_seed(0))
    save_checkpoint(network, Tokenizer.from_folder(folder), folder / "model")
    return str(folder / "model")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of texts that are "good" where they hold w5; its columns have names of their own."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    lines = ["number,review,mood"]
    for number in range(120):
        words = [f"w{draw.randrange(10, 30)}" for _ in range(draw.randrange(3, 9))]
        if number % 2:
            words[draw.randrange(len(words))] = "w5"
        lines.append(f"{number},{' '.join(words)},{'good' if number % 2 else 'bad'}")
    path.write_text("\n".join([*lines, "120,,good", "121,w9,"]) + "\n")
    return path


def train(task: str, data: Path, out: Path, base: str, **options: object) -> tuple[Result, Begun]:
    told: list[Begun] = []
    given = {"task": task, "train": [str(data)], "model": base, **FEW, **options}
    return learn(given, out, begun=told.append), told[0]


@pytest.fixture(scope="module")
def classifier(base: str, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, Begun]:
    out = tmp_path_factory.mktemp("run") / "mood"
    result, begun = train("classify", texts, out, base, steps=60, every=20, keep=3)
    return out, result, begun


def test_a_classifier_learns_what_its_table_shows(classifier: tuple[Path, Result, Begun]) -> None:
    out, result, begun = classifier
    assert begun.said[:2] == ("columns: review holds the texts, mood the labels", "labels: bad, good")
    assert begun.said[2] == "left out: 2 rows in which something is missing"
    assert begun.examples == 118  # of 120, two are kept from training
    model = limelight.open(out, kind=limelight.Classifier)
    assert model.labels == ("bad", "good")
    found = model.classify(["w11 w5 w20", "w11 w12 w20 w21"])
    assert [next(iter(each)) for each in found] == ["good", "bad"]
    assert result.score == 100.0


def test_transformers_opens_what_was_learned(classifier: tuple[Path, Result, Begun]) -> None:
    theirs = AutoModelForSequenceClassification.from_pretrained(classifier[1].model)
    assert theirs.config.id2label == {0: "bad", 1: "good"}
    tokens = torch.tensor([[1, 11, 5, 20, 2]])
    ours = open_checkpoint(classifier[1].model).network
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=0, atol=1e-5)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    classifier: tuple[Path, Result, Begun], tmp_path: Path
) -> None:
    out = tmp_path / "again"
    shutil.copytree(classifier[0], out)
    for name in ("result.json", "model", "checkpoints/step-000060"):
        place = out / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    result = learn({"task": "classify"}, out)
    one, other = (open_checkpoint(each).network.state_dict() for each in (classifier[1].model, result.model))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_few_texts_are_learned_from_in_pairs(base: str, tmp_path: Path) -> None:
    draw = random.Random(1)
    words = [" ".join(f"w{draw.randrange(10, 30)}" for _ in range(4)) for _ in range(16)]
    rows = [f"w5 {text},good" if number % 2 else f"{text},bad" for number, text in enumerate(words)]
    data = tmp_path / "few.csv"
    data.write_text("\n".join(["text,label", *rows]))
    result, begun = train("classify", data, tmp_path / "run", base, steps=20)
    assert begun.examples == 16
    assert begun.said[2].startswith("few texts a label")
    assert result.score is None  # nothing was kept back to judge by
    model = limelight.open(tmp_path / "run", kind=limelight.Classifier)
    assert [next(iter(each)) for each in model.classify(["w11 w5 w20", "w11 w12 w20 w21"])] == ["good", "bad"]
    # For those who know of no labels it is an embedder whose vectors are the scores.
    listed = json.loads((result.model / "modules.json").read_text())
    assert [step["type"].rpartition(".")[2] for step in listed] == ["Transformer", "Pooling", "Dense"]
    (scores,) = model.answers(["w11 w5 w20"])
    body = AutoModel.from_pretrained(result.model)(torch.tensor([[1, 11, 5, 20, 2]])).last_hidden_state.mean(1)
    dense = load_file(result.model / "2_Dense" / "model.safetensors")
    torch.testing.assert_close(scores, (body @ dense["linear.weight"].T + dense["linear.bias"])[0])


def test_vectors_of_texts_stand_in_their_order(base: str) -> None:
    """Texts are read together by length, and each gives what it would give alone."""
    network = with_head(open_checkpoint(base, dtype="float32"), SequenceClassifier, ("a", "b"), 0.0, 0, pooled="mean")
    texts = [(1, *range(10, 10 + length), 2) for length in (3, 9, 1, 5, 7, 2, 8, 4, 6, 10)]

    def read(some: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
        return vectors(network, Batch(padded(some, 0), torch.zeros(len(some)), None, torch.tensor([*map(len, some)])))

    with torch.no_grad():
        for together, alone in zip(read(texts), zip(*(read([text]) for text in texts), strict=True), strict=True):
            torch.testing.assert_close(together, torch.cat(alone))


def test_texts_of_one_label_have_no_others_to_be_far_from(base: str) -> None:
    """The kinds of pairs that a batch holds are weighed alike, and one without pairs teaches nothing."""
    network = with_head(open_checkpoint(base, dtype="float32"), SequenceClassifier, ("a", "b"), 0.0, 0, pooled="mean")
    teach = Contrasting(network)

    def loss(*labels: int) -> tuple[float, torch.Tensor]:
        rows = [(1, 10 + at, 12, 2) for at in range(len(labels))]
        batch = Batch(padded(rows, 0), torch.tensor(labels), None, torch.tensor([*map(len, rows)]))
        with torch.no_grad():
            vector, _ = vectors(network, batch)
        return float(teach(batch)[0].detach()) / len(labels), vector @ vector.T

    assert loss(0)[0] == 0
    for labels, wanted in (((0, 0), 1.0), ((0, 1), 0.0)):
        found, cosines = loss(*labels)
        assert found == pytest.approx(float((cosines[0, 1] - wanted) ** 2), rel=1e-4)
    found, cosines = loss(0, 0, 1)
    far = (cosines[0, 2] ** 2 + cosines[1, 2] ** 2) / 2
    assert found == pytest.approx(float(((cosines[0, 1] - 1) ** 2 + far) / 2), rel=1e-4)


def test_several_labels_may_fit_a_text(base: str, tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = []
    for number in range(120):
        words = [f"w{draw.randrange(10, 30)}" for _ in range(3)]
        fits = [word for bit, word in enumerate(("w5", "w6")) if number >> bit & 1]
        words += fits
        draw.shuffle(words)
        rows.append(json.dumps({"text": " ".join(words), "labels": fits}))
    data = tmp_path / "several.jsonl"
    data.write_text("\n".join(rows))
    result, begun = train("classify", data, tmp_path / "run", base, steps=100, every=100)
    assert begun.said[1:] == ("labels: w5, w6", "several labels may fit a text")
    model = limelight.open(result.model, kind=limelight.Classifier)
    found = model.classify(["w11 w5 w12 w6", "w11 w12", "w6 w20"])
    assert [sorted(label for label, share in each.items() if share > 0.5) for each in found] == [
        ["w5", "w6"],
        [],
        ["w6"],
    ]
    assert AutoModelForSequenceClassification.from_pretrained(result.model).config.problem_type == SEVERAL
    judged = judge_several(model, [("w5 w11", ["w5"]), ("w6 w5 w12", ["w6"])])
    assert judged.by_label["w5"].value == pytest.approx(100 * 2 / 3)
    assert judged.f1.value == pytest.approx(80)
    assert [(each.found, each.right) for each in judged.mistakes] == [("w5, w6", "w6")]


def test_tags_are_learned_and_words_keep_them(base: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    lines = []
    for _ in range(120):
        for _ in range(draw.randrange(3, 8)):
            name = draw.random() < 0.3
            lines += ["w5\tB-name", "w6\tI-name"] if name else [f"w{draw.randrange(10, 30)}\tO"]
        lines.append("")
    data = tmp_path / "names.conll"
    data.write_text("\n".join(lines))
    result, begun = train("tag", data, tmp_path / "run", base, steps=60, every=60)
    assert begun.said == ("labels: O, B-name, I-name",)
    assert result.score == 100.0
    theirs = AutoModelForTokenClassification.from_pretrained(result.model)
    assert list(theirs.config.id2label.values()) == ["O", "B-name", "I-name"]


@pytest.mark.parametrize(
    ("head", "rows", "found"),
    [
        ("a,b,label", "1,some words,x", ("b", "label")),
        ("text,stars", "label me,5", ("text", "stars")),
        ("x,y z", "1,two words here", ("2", "1")),  # no names: the first line is a row
    ],
)
def test_columns_are_found(tmp_path: Path, head: str, rows: str, found: tuple[str, str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([head, *[rows] * 20]))
    assert columns([path]) == found
    assert len(list(labelled([path], found))) == (21 if found[0].isdigit() else 20)


@pytest.mark.parametrize("name", [*LABELS, "Sentiment", "Y"])
def test_columns_of_labels_are_known_by_their_usual_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"n\t{name}\tsaid\n1\t5\tso\n1\t6\tso\n2\t7\tno\n")
    assert columns([path]) == ("said", name)


@pytest.mark.parametrize("name", [*TEXTS, "Text"])
def test_columns_of_texts_are_known_by_their_usual_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"n\tlabel\tlonger than it\t{name}\n1\ta\tlong, longer\tso\n2\tb\tlong, longer\tno\n")
    assert columns([path]) == (name, "label")


@pytest.mark.parametrize("count", [10, 11])
def test_labels_that_never_repeat_are_none_in_a_table_of_some_length(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"a": f"{n} words", "b": n}) + "\n" for n in range(count)))
    if count == 10:
        assert columns([path]) == ("b", "a")
    else:
        with pytest.raises(RequestError, match="which of the columns a, b holds texts and which labels"):
            columns([path])


def test_cells_hold_one_label_or_several_or_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    cells = ["a", 3, True, None, " ", [], ["a", "b", "a", 1], '["c", "d"]', "[no list"]
    path.write_text("".join(json.dumps({"text": " w ", "label": cell}) + "\n" for cell in cells))
    found = list(labelled([path], ("text", "label")))
    labels = [("a",), ("3",), ("true",), None, None, (), ("a", "b", "1"), ("c", "d"), ("[no list",)]
    assert found == [("w", each) for each in labels]
    for wrong in ({"a": 1}, [["a"]], [{}], ["a", ""], [None]):
        path.write_text(json.dumps({"text": "w", "label": wrong}) + "\n")
        with pytest.raises(FileError, match=r"row 1: 'label' holds .*a label is a text or a number"):
            list(labelled([path], ("text", "label")))


def test_a_word_and_its_tag_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O\n\n# \nNew NNP B-city\nYork NNP I-city\n\n\nso\tx y\tO\n")
    first, second = tagged([path])
    assert (first.text, first.words, first.tags) == ("New York", ((0, 3), (4, 8)), ("B-city", "I-city"))
    assert (second.text, second.tags) == ("so", ("O",))
    path.write_text("w\t \n")
    with pytest.raises(FileError, match="line 1: a word and its tag are needed"):
        list(tagged([path]))


@pytest.mark.parametrize("name", ["tags", "ner_tags", "labels"])
def test_tags_and_spans_by_their_usual_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"tokens": ["w5", 6], name: ["B-x", 0]}))
    (found,) = tagged([path])
    assert (found.text, found.words, found.tags) == ("w5 6", ((0, 2), (3, 4)), ("B-x", "0"))
    spans = {"tags": "spans", "ner_tags": "entities", "labels": "labels"}[name]
    path.write_text(json.dumps({"text": "New York now", spans: [[2, 4, "x"], [9, 12, "y"]]}))
    (found,) = tagged([path])
    assert found.tags == ("B-x", "O", "B-y")
    for wrong in (
        {"text": "a", spans: [[0, 0, "x"]]},
        {"text": "a", spans: [[0, 1]]},
        {"text": 5, spans: []},
        {"a": 1},
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(FileError, match="line 1: not a text with tags"):
            list(tagged([path]))


def test_spans_become_tags_of_whole_words(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    span = {"start": 4, "end": 11, "label": "city"}
    path.write_text(json.dumps({"text": "to New York, now", "spans": [span]}))
    (found,) = tagged([path])
    assert [found.text[start:end] for start, end in found.words] == ["to", "New", "York", ",", "now"]
    assert found.tags == ("O", "B-city", "I-city", "O", "O")


@pytest.mark.parametrize(
    ("task", "name", "text", "options", "message"),
    [
        ("classify", "a.txt", "x", {}, "read from tables"),
        ("classify", "a.csv", "text,label\nw5,x\n", {}, "all texts have one label"),
        ("classify", "a.csv", "text,label\nw5,x,y\n", {}, "row 1: 3 columns where the first row has 2"),
        ("classify", "a.jsonl", '{"text": "w5", "label": {"a": 1}}\n', {}, "a label is a text or a number"),
        (
            "classify",
            "a.csv",
            "text,label\nw5,x\nw6,y",
            {"several": True, "learns": "pairs"},
            "each text has one label",
        ),
        ("classify", "a.csv", "text,label\nw5,x\nw6,y", {"columns": ["text", "lable"]}, "did you mean 'label'"),
        ("classify", "a.csv", "text,label\nw5,x\nw6,y", {"labels": ["x", "z"]}, "the label 'y' is none of those"),
        ("classify", "a.csv", "text,label\nw5,x\nw6,y", {"model": "gpt-tiny"}, "begins at nothing"),
        ("classify", "a.csv", "text,label\nw5,x\nw6,y", {"watch": "f1"}, "is watched by accuracy or loss"),
        ("tag", "a.conll", "w5 O\nw6\n", {}, "line 2: a word and its tag are needed"),
        ("tag", "a.jsonl", '{"tokens": ["w5"], "tags": []}\n', {}, "1 tokens and 0 tags"),
        ("tag", "a.jsonl", '{"text": "w5", "spans": [[0, 9, "x"]]}\n', {}, "no characters 0 to 9"),
    ],
)
def test_what_cannot_be_learned_is_said_at_once(
    base: str, tmp_path: Path, task: str, name: str, text: str, options: dict[str, object], message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(LimelightError, match=message) as refused:
        train(task, tmp_path / name, tmp_path / "run", **{"base": base, **options})  # type: ignore[arg-type]
    assert isinstance(refused.value, RequestError | FileError)
    assert not (tmp_path / "run" / "settings.toml").exists()


def test_a_logistic_regression_ends_where_no_weight_nor_bias_would_lower_its_loss() -> None:
    torch.manual_seed(0)
    rows, labels = torch.randn(60, 5) + 1, torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
    weights, biases = fit(rows, labels, 3)
    wrong = (rows @ weights.T + biases).softmax(-1) - torch.eye(3)[labels]  # [N, C]
    assert wrong.sum(0).tolist() == pytest.approx([0] * 3, abs=1e-4)
    torch.testing.assert_close(wrong.T @ rows, -weights, rtol=0, atol=1e-4)
