"""Models that learn which words are missing, and what texts say in short."""

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cli.tiny_models import TEMPLATE, llama, trained
from references import write_marked_tokenizer
from tasks.small_languages import language
from transformers import AutoModelForMaskedLM

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import LimelightError
from limelight.models.api import Encoder
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.registry import config_from_hf
from limelight.tasks.evaluation.masked import judge_fills
from limelight.tasks.evaluation.summaries import judge_summaries
from limelight.tasks.learn import Begun, learn
from limelight.tasks.training import TASKS
from limelight.tasks.training.fill import Fill
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import IGNORE
from limelight.train.examples import plain_texts
from limelight.train.gaps import Gaps
from limelight.train.loop import Result
from limelight.train.loss import Objective
from limelight.train.parallel import World
from limelight.train.prepare import prepare
from limelight.train.settings import Settings
from limelight.train.summaries import Short, columns, shorts
from limelight.train.tokenfile import TokenFile, prepare_examples

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An encoder that makes vectors and knows nothing yet."""
    folder = tmp_path_factory.mktemp("base")
    write_marked_tokenizer(folder)
    made = build(config_from_hf({"model_type": "bert", "vocab_size": 99, "architectures": ["BertModel"], **SIZES}))
    initialise(made, torch.Generator().manual_seed(0))
    save_checkpoint(made, Tokenizer.from_folder(folder), folder / "model")
    return str(folder / "model")


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny chat model."""
    folder = tmp_path_factory.mktemp("talker") / "model"
    torch.manual_seed(0)
    tokenizer = trained(TEMPLATE)
    save_checkpoint(llama(tokenizer.vocab, context=512), tokenizer, folder)
    return str(folder)


def train(task: str, data: Path, out: Path, **options: object) -> tuple[Result, Begun]:
    told: list[Begun] = []
    given = {"task": task, "train": [str(data)], "threads": 1, "precision": "float32", "dropout": 0.0, **options}
    return learn(given, out, begun=told.append), told[0]


def gaps(base: str, folder: Path, rows: list[list[int]]) -> Gaps:
    return Gaps(
        prepare_examples([([1, *row, 2], [len(row)]) for row in rows], 101, folder), open_checkpoint(base).tokenizer, 1
    )


def test_gaps_are_berts(base: str, tmp_path: Path) -> None:
    """Of 15 % of the words 80 % are masked, 10 % another word and 10 % as they were; others in each epoch."""
    draw = random.Random(0)
    corpus = gaps(
        base, tmp_path / "a", [[draw.randrange(10, 90) for _ in range(size)] for size in [100] * 200 + [3, 1]]
    )
    every = np.arange(len(corpus))
    batch = corpus.batch(every, 0)
    asked = batch.targets != IGNORE
    assert asked.sum(1).tolist() == [15] * 200 + [1, 1] == corpus.lengths(every)[1].tolist()
    assert not asked[:, 0].any()
    assert set(batch.targets[asked].tolist()).isdisjoint({1, 2})
    whole = torch.tensor(corpus.file[0].astype(np.int64))
    assert torch.equal(torch.where(asked[0, :102], batch.targets[0, :102], batch.tokens[0, :102]), whole)
    shares = [(batch.tokens[asked] == 98).float().mean(), (batch.tokens[asked] == batch.targets[asked]).float().mean()]
    assert shares == pytest.approx([0.8, 0.1], abs=0.03)
    assert not set(batch.tokens[asked].tolist()) & {0, 1, 2}
    assert torch.equal(corpus.batch(every[3:4], 0).tokens[0], batch.tokens[3])
    assert not torch.equal(corpus.batch(every, 1).tokens, batch.tokens)
    # half of all words are a gap once in so many epochs
    met = torch.stack([corpus.batch(every[:1], epoch).targets[0] != IGNORE for epoch in range(40)]).any(0)
    assert met[1:-1].float().mean() > 0.95


def test_the_loss_is_that_of_the_gaps(base: str, tmp_path: Path) -> None:
    corpus = gaps(base, tmp_path / "a", [[11, 12, 13, 14, 15, 16, 17, 18], [20, 21]])
    made = Fill({"model": base}, None).network(Settings("fill", dropout=0.0))
    batch = corpus.batch(np.arange(2), 0)
    logits = made(batch.tokens, batch.lengths)
    wanted = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum")
    found = Objective(made, 0.0)(batch)
    torch.testing.assert_close(found, torch.stack((wanted, wanted)))
    ours = torch.autograd.grad(found[0], [*made.parameters()], allow_unused=True)
    theirs = torch.autograd.grad(wanted, [*made.parameters()], allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_of_vectors_learns_to_fill_gaps(base: str, tmp_path: Path) -> None:
    """Each line says one word again and again; the result is transformers' masked language model, and surer."""
    lines = [" ".join([f"w{10 + number % 4}"] * 12) for number in range(64)]
    (tmp_path / "a.csv").write_text("\n".join(["id,review", *(f"{n},{line}" for n, line in enumerate(lines))]))
    result, begun = train(
        "fill", tmp_path / "a.csv", tmp_path / "run", model=base, batch_tokens=256, steps=60, every=60, lr=2e-2
    )
    assert begun.said[0] == "column: review holds the texts"
    assert "has no head that says words" in begun.said[1]
    assert (begun.settings.watch, begun.settings.longest, result.metric) == ("loss", 128, "accuracy")
    model = limelight.open(result.model, kind=limelight.MaskedModel)
    assert model.fill("w12 w12 [MASK] w12 w12", 1)[0][0][0] == "w12"
    theirs = AutoModelForMaskedLM.from_pretrained(result.model)
    tokens = torch.tensor([[1, 12, 98, 14, 2]])
    with torch.no_grad():
        torch.testing.assert_close(model.network(tokens), theirs(tokens).logits, rtol=0, atol=1e-5)
    assert learn({"task": "fill"}, tmp_path / "run").steps == 60  # it is through, and the same data is still there
    # and goes on from the head that it has
    assert Fill({"model": str(result.model)}, None).said(Settings("fill")) == []
    judged = judge_fills(model, lines[:9])
    assert (judged.windows, judged.gaps) == (9, 18)
    assert judged.accuracy.value > 50
    assert 1 <= judged.perplexity.low <= judged.perplexity.value <= judged.perplexity.high < 3


def test_perplexity_is_that_of_the_masked_words(base: str) -> None:
    """A model that knows nothing is unsure between all words, and none of its marks is asked for."""
    made = Fill({"model": base}, None).network(Settings("fill", dropout=0.0))
    assert isinstance(made, Encoder)
    with torch.no_grad():
        made.head.proj.bias[:] = torch.linspace(-1, 1, 99)  # type: ignore[union-attr, index]
        made.embed.weight.zero_()  # type: ignore[union-attr, operator]
    model = limelight.MaskedModel(made, open_checkpoint(base).tokenizer, "tiny", Path("tiny"))
    expected = math.exp(torch.linspace(-1, 1, 99).logsumexp(0) - torch.linspace(-1, 1, 99)[20])
    assert judge_fills(model, ["w20 " * 300]).perplexity.value == pytest.approx(expected, rel=1e-5)
    with pytest.raises(LimelightError, match="no text to judge by"):
        judge_fills(model, [" "])


def test_columns_of_summaries_and_what_stands_in_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"source": ["First. ", "Then more."], "target": ["Short.", "Brief."]},
        {"source": "Mr. Who came. It rained.", "target": "He came."},
        {"source": "", "target": "x"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert columns([path]) == ("source", "target")
    first, second, third = shorts([path], columns([path]))
    assert first == Short("First. Then more.", "First.", ("Short.", "Brief."))
    assert second is not None
    assert (second.first, second.summaries, third) == ("Mr.", ("He came.",), None)
    for row, expected in (({"a": "x y", "b": "x y z"}, ("b", "a")), ({"a": "x y z", "text": "x"}, ("text", "a"))):
        path.write_text(json.dumps(row))
        assert columns([path]) == expected
    path.write_text('{"id": "x", "b": "x y z"}')
    with pytest.raises(LimelightError, match="not plain which of the columns id, b"):
        columns([path])
    path.write_text('{"a": "x", "b": "y", "c": 3}')
    for asked, message in (
        ((), "not plain which of the columns a, b, c"),
        (("a",), "it takes two"),
        (("a", "d"), "'d'"),
    ):
        with pytest.raises(LimelightError, match=message):
            columns([path], asked)
    with pytest.raises(LimelightError, match=r"row 1: 'c' holds 3; it takes a text, or a list"):
        list(shorts([path], ("a", "c")))
    (tmp_path / "a.txt").write_text("x")
    for asked in (columns, lambda files: list(shorts(files, ("a", "c")))):
        with pytest.raises(LimelightError, match=r"a\.txt: texts with summaries are read from tables"):
            asked([tmp_path / "a.txt"])


def test_summaries_are_judged_beside_first_sentences() -> None:
    pytest.importorskip("rouge_score")
    texts = [
        Short("A cat sat. It slept.", "A cat sat.", ("the cat sits", "a cat sat")),
        Short("B c.", "B c.", ("d e",)),
    ]
    found = judge_summaries(lambda text: "the cats sit" if "cat" in text else "e", texts)
    assert found.first_sentence["rouge1"].value == found.first_sentence["rougeL"].value == 50
    assert found.rouge["rouge2"].value == pytest.approx(50)
    assert found.rouge["rouge1"].value == pytest.approx((100 + 200 / 3) / 2)


def test_a_chat_model_learns_to_be_asked_for_summaries(talker: str, tmp_path: Path) -> None:
    """It learns from what `summarise` will ask, by adapters, of summaries alone."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"The cat {n} sat.", "summary": "The cat sat."}) + "\n" for n in range(12))
    )
    result, begun = train("summarise", path, tmp_path / "run", model=talker, steps=1)
    assert begun.said[0] == "12 texts with summaries written as text and summary"
    assert (begun.settings.lora, begun.settings.columns) == (16, ("text", "summary"))
    model = limelight.open(result.model, kind=limelight.Model)
    file = TokenFile(tmp_path / "run" / "data" / "train")
    start, end = file[1].tolist()
    asked = model.tokenizer.decode(file[0][:start].tolist(), special=True)
    assert asked.count("Summarise this text in one or two short sentences.\n\nThe cat 0 sat.") == 1
    assert model.tokenizer.decode(file[0][start:end].tolist()) == "The cat sat."
    assert isinstance(model.summarise("The cat sat."), str)
    (tmp_path / "run" / "result.json").unlink()
    shutil.rmtree(result.model)
    path.unlink()
    assert learn({"task": "summarise"}, tmp_path / "run").steps == 1  # from its checkpoint, without the data
    assert limelight.open(result.model, kind=limelight.Model).name


def test_an_encoder_decoder_learns_summaries_as_it_learns_to_translate(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"a b c {n}", "summary": "a c"}) + "\n" for n in range(60))
        + '{"text": "", "summary": "x"}\n'
    )
    small = {"width": 16, "steps": 1, "batch_tokens": 256, "columns": ["text", "summary"]}
    result, begun = train("summarise", path, tmp_path / "run", model="transformer-modern-tiny", **small)
    assert (begun.examples, begun.settings.longest) == (59, 1024)
    assert isinstance(limelight.open(result.model, kind=limelight.Translator).summarise("a b c"), str)
    assert learn({"task": "summarise"}, tmp_path / "run").steps == 1


def test_a_t5_is_trained_with_what_stands_in_front_when_it_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "ein hund", "summary": "hund"}\n' * 60)
    words, world = language(), World(0, 1, torch.device("cpu"))
    given = {"task": "summarise", "train": [str(path)], "model": "transformer-modern-tiny"}
    ready = prepare(given, tmp_path / "run", world, tokenizers=(words.source, words.target), front="hund ")
    batch = ready.training.batch(np.arange(1), 0)
    assert batch.source is not None
    assert words.source.decode(batch.source[0].tolist()).split() == ["hund", "ein", "hund"]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("fill", {"model": "TALKER"}, "to fill gaps train an encoder"),
        ("fill", {"model": "BASE", "watch": "f1"}, "watched by accuracy or loss"),
        ("fill", {"model": "BASE", "columns": ["no"]}, "no column 'no'"),
        ("fill", {"model": "BASE", "train": ["b.txt"], "columns": ["text"]}, "columns are those of tables"),
        ("fill", {"model": "BASE", "longest": 2}, "own marks take all of it"),
        ("summarise", {"model": "BASE"}, "writes no text; to summarise train a chat model"),
        ("summarise", {"model": "TALKER", "columns": ["text"]}, "it takes two"),
        ("summarise", {"model": "TALKER", "width": 8}, "brings its own width"),
        ("summarise", {"model": "gpt-tinny"}, "did you mean"),
        ("summarise", {"model": "TALKER", "train": ["b.txt"]}, "read from tables"),
        ("summarise", {"model": "transformer-modern-tiny", "watch": "bleu"}, "needs translations to score"),
    ],
)
def test_what_cannot_be_learned_is_said_at_once(
    base: str,
    talker: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    options: dict[str, object],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,summary\nw5 w6,w7\n")
    Path("b.txt").write_text("w5 w6\n")
    names = {"BASE": base, "TALKER": talker}
    given = {"task": task, "train": ["a.csv"], **options, "model": names.get(str(options["model"]), options["model"])}
    with pytest.raises(LimelightError, match=message):
        learn(given, tmp_path / "run")
    assert not (tmp_path / "run" / "settings.toml").exists()


def test_windows_are_as_long_as_a_model_reads(tmp_path: Path) -> None:
    write_marked_tokenizer(tmp_path)
    config = {"model_type": "bert", "vocab_size": 99, "architectures": ["BertForMaskedLM"], **SIZES}
    made = build(config_from_hf(config | {"max_position_embeddings": 20}))
    initialise(made, torch.Generator().manual_seed(0))
    save_checkpoint(made, Tokenizer.from_folder(tmp_path), tmp_path / "model")
    (tmp_path / "a.txt").write_text("w10 w11 w12\n" * 30)
    _, begun = train("fill", tmp_path / "a.txt", tmp_path / "run", model=str(tmp_path / "model"), steps=1)
    assert (begun.settings.longest, begun.examples, begun.said) == (
        20,
        4,
        (),
    )  # 90 words by 18, of which one is kept back


def test_texts_of_all_files_are_read(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.txt", "b.txt", "c.csv", "d.txt")]
    for file in files:
        file.write_text("text\ncell\n" if file.suffix == ".csv" else f"{file.name}\nends\n")
    found = "".join(f"{text}|" for text in plain_texts(files, ("text",))).split()
    assert found == ["a.txt", "ends", "|b.txt", "ends", "|cell|d.txt", "ends", "|"]


def test_a_model_without_a_mask_has_no_gaps(base: str, tmp_path: Path) -> None:
    made = open_checkpoint(base)
    save_checkpoint(made.network, trained(None), tmp_path / "model")
    with pytest.raises(LimelightError, match="knows no mask"):
        TASKS["fill"]({"model": str(tmp_path / "model")}, None)
