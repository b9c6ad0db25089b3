"""The report card: rules that tell whether an instruction was kept, and the page of a training."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from cli.tiny_models import Run, llama, trained

import limelight
from limelight.checkpoints.save import save_checkpoint
from limelight.report import measures
from limelight.report.choices import QUESTIONS
from limelight.report.instructions import INSTRUCTIONS, SUBJECTS, bullets, german, is_json, repeats, sentences
from limelight.report.stages import first, stages
from limelight.tasks.learn import learn

KEPT = {
    "Explain in at most 15 words why the sky is blue.": ("Air scatters blue light most.", "word " * 16),
    "Describe the sea in more than 30 words.": ("wave " * 31, "It is wet."),
    "Say what a dog is, in exactly one sentence.": ("A dog is an animal.", "A dog. It barks."),
    "Write exactly two sentences about the moon.": ("It is far. It shines at 3.5 lux!", "It is far."),
    "Write a sentence about winter that has the word lamp.": ("A lamp burns.", "Many lampshades."),
    "Describe a garden, using the words stone and river.": ("A River by a stone.", "A stone."),
    "Describe the sun without the word hot.": ("A bright shotgun.", "It is Hot."),
    "Say what snow is. Do not use the words cold and white.": ("Frozen water.", "White water."),
    'Name a city as JSON with the keys "name" and "country".': ('{"name": "a", "country": "b"}', '{"name": "a"}'),
    'Answer with JSON alone: an animal, under the key "answer".': (
        '```json\n{"answer": "cat"}\n```',
        'Sure: {"answer": 1}',
    ),
    "Name three fruits as a list with bullet points.": ("- a\n- b\n* c", "- a\n- b"),
    "Give a numbered list of four colours.": ("1. a\n2. b\n3) c\n4. d", "a, b, c, d"),
    "Say what a book is. Use small letters only.": ("paper.", "Paper."),
    "write about rain, all in lower case.": ("it falls", ""),
    "Greet a friend in capital letters only.": ("HELLO!", "Hello!"),
    "NAME A PLANET. ANSWER IN CAPITALS.": ("MARS", "..."),
    'Tell me about tea. Begin your answer with the word "Listen".': ("Listen, tea is a leaf.", "Tea. Listen."),
    'Give advice on sleep. End with the words "Good night."': ("Rest. Good night.", "Good night to all."),
    "Describe a train without any comma.": ("It runs.", "Long, fast."),
    "Answer in German: what is water?": ("Das ist ein Stoff.", "It is the stuff of life."),
}
"""What is asked → an answer that does it, and one that does not."""


def test_each_rule_tells_a_good_answer_from_a_bad_one() -> None:
    assert [each.asks for each in INSTRUCTIONS[::SUBJECTS]] == list(KEPT)
    assert len({each.kind for each in INSTRUCTIONS}) >= 10
    assert len({each.asks for each in INSTRUCTIONS}) == len(INSTRUCTIONS) == SUBJECTS * len(KEPT)
    for at, (good, bad) in enumerate(KEPT.values()):
        for each in INSTRUCTIONS[SUBJECTS * at : SUBJECTS * (at + 1)]:
            assert (each.kept(good), each.kept(bad)) == (True, False), each.asks
    for asks, (good, _) in KEPT.items():
        assert repeats(asks, f"### user\n{asks.upper()}\n{good}")
        assert not repeats(asks, good)
    assert (sentences(""), bullets("a - b"), german(""), is_json("[1]")) == (0, 0, False, False)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny base, and what it became in two stages of a step each."""
    folder = tmp_path_factory.mktemp("report")
    torch.manual_seed(0)
    tokenizer = trained(None)
    save_checkpoint(llama(tokenizer.vocab, 256), tokenizer, folder / "base")
    data = folder / "pairs.jsonl"
    rows = [
        {"instruction": q, "output": a, "chosen": a, "rejected": "no"}
        for q, a in (("Who?", "The cat"), ("Why?", "It sat"))
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = folder / "base"
    for task in ("assistant", "prefer"):
        given = {
            "task": task,
            "train": [str(data)],
            "valid": [str(data)],
            "model": str(before),
            "steps": 1,
            "threads": 1,
        }
        learn(given, folder / task)
        before = folder / task
    return folder / "base", folder / "prefer"


def test_a_report_tells_of_all_stages(
    trainings: tuple[Path, Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, out = trainings
    found = stages(out)
    assert [stage.settings.task for stage in found] == ["assistant", "prefer"]
    assert [stage.settings.shrink for stage in found] == [0.3, 0.0]
    assert first(found) == str(base)
    monkeypatch.setattr(measures, "WRITTEN", 3)
    done = run("report", out, "--out", tmp_path / "card.html", "--question", "Who <sat>?")
    assert done.code == 0, done.err
    page = (tmp_path / "card.html").read_text()
    assert "Instructions kept:" in done.out
    assert page.count("<h2>Stage") == 2
    assert "held-out pairs ranked right" in page
    assert page.count("loses ") >= 2  # words of both sides were measured
    assert "Who &lt;sat&gt;?" in page
    assert all(each.kind in page for each in INSTRUCTIONS)
    assert all(each.asks in page for each in QUESTIONS)
    assert re.search(r"questions right: \d+ → \d+ of 24", done.out)
    assert "src=" not in page
    assert "http" not in page


def test_loss_and_bits_are_those_of_the_text(trainings: tuple[Path, Path]) -> None:
    model = limelight.open(trainings[0], kind=limelight.Model)
    text = "The cat sät on the mat. " * 60  # more than the model reads at once
    ids = model.tokenizer.encode(text).ids
    size = 255
    assert len(ids) > size
    lost = 0.0
    for at in range(0, len(ids), size):
        tokens = torch.tensor([[model.tokenizer.separator, *ids[at : at + size]]])
        lost += float(F.cross_entropy(model.network(tokens)[0, :-1], tokens[0, 1:], reduction="sum"))
    assert measures.loss(model, text) == pytest.approx((lost / len(ids), lost / math.log(2) / (25 * 60)), rel=1e-5)


def test_the_likeliest_of_four_answers_is_chosen(trainings: tuple[Path, Path]) -> None:
    model = limelight.open(trainings[0], kind=limelight.Model)
    encode = model.tokenizer.encode
    for question, chosen in zip(QUESTIONS[:3], measures.chosen(model), strict=False):
        prompt = [*model.tokenizer.prefix, *encode(f"Question: {question.asks}\nAnswer:").ids]
        scores = {}
        for answer in question.answers:
            ids = encode(f" {answer}").ids
            logits = model.network(torch.tensor([[*prompt, *ids]]))[0, len(prompt) - 1 : -1]
            scores[answer] = -float(F.cross_entropy(logits, torch.tensor(ids)))
        assert chosen == max(scores, key=lambda answer: scores[answer])


def test_the_order_of_answers_does_not_tell_the_right_one() -> None:
    places = Counter(question.answers.index(question.right) for question in QUESTIONS)
    assert len({question.asks for question in QUESTIONS}) == len(QUESTIONS)
    assert all(len(set(question.answers)) == 4 for question in QUESTIONS)
    assert max(places.values()) <= len(QUESTIONS) / 2


def test_what_has_no_report_is_said(run: Run, tmp_path: Path) -> None:
    done = run("report", tmp_path)
    assert done.code == 1
    assert "is no folder of a training" in done.err
