"""A race: equal terms, problems whose answers are known, and a report of what was measured."""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from limelight.errors import ConfigError, LimelightError
from limelight.models.presets import count
from limelight.race import course
from limelight.race import problems as made_by_rule
from limelight.race.contenders import CONTENDERS, EQUAL
from limelight.race.course import Results, Settings, problems, race
from limelight.race.problems import BY_RULE, Agreement, Recall, Switch
from limelight.race.report import conclusions, write_report
from limelight.race.training import Run, fading, new
from limelight.race.work import chain, products
from limelight.train.batches import IGNORE

QUICK = Settings(models=("rnn", "transformer"), budget=20, seeds=1, parameters=20_000)


@pytest.mark.parametrize("name", CONTENDERS)
@pytest.mark.parametrize(("vocab", "context"), [(153, 288), (33, 80), (4, 160), (200, 64)])
def test_all_have_as_many_parameters(name: str, vocab: int, context: int) -> None:
    assert count(CONTENDERS[name].fit(vocab, context, 100_000)) == pytest.approx(100_000, rel=EQUAL)


def test_who_cannot_be_made_so_small_is_named() -> None:
    with pytest.raises(LimelightError, match="lstm cannot have 100 parameters with a vocabulary of 153"):
        CONTENDERS["lstm"].fit(153, 64, 100)


@pytest.mark.parametrize(
    ("models", "said"),
    [(("lstm", "lsmt"), "did you mean 'lstm'"), (("rnn",), "at least two"), (("rnn", "rnn"), "named twice")],
)
def test_wrong_contenders_are_named(models: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(models=models)


@pytest.mark.parametrize("name", BY_RULE)
def test_problems_are_the_same_for_all_and_fit_their_context(name: str) -> None:
    problem = BY_RULE[name]()
    for one, other in zip(problem.tests(), BY_RULE[name]().tests(), strict=True):
        assert torch.equal(one.batch.tokens, other.batch.tokens)
        assert one.batch.tokens.shape[1] <= problem.context
        assert int(one.batch.tokens.max()) < problem.vocab
    one, other = (problem.batch(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.targets, other.targets)


def test_each_question_is_answered_by_the_fact_of_its_key() -> None:
    batch = Recall().examples(20, 5, 7, torch.Generator().manual_seed(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        facts = {(token - 1) // Recall.VALUES: token for token in tokens[:5]}
        assert len(facts) == 5
        assert all(target == IGNORE for target in targets[:12])
        for token, target in zip(tokens[12:], targets[12:], strict=True):
            assert target == facts[token - 1 - Recall.KEYS * Recall.VALUES]


def test_the_verb_agrees_with_the_first_noun_and_not_with_those_between() -> None:
    batch = Agreement().examples(20, 3, torch.Generator().manual_seed(0), other=True)
    plural = batch.tokens[:, 0] >= Agreement.NOUNS
    assert torch.equal(batch.targets[:, -1] - (Agreement.vocab - 3), plural.long())
    between = batch.tokens[:, 2::2][:, :3] >= Agreement.NOUNS
    assert not (between == plural[:, None]).any()


def test_the_lamp_is_on_after_an_odd_number_of_switches() -> None:
    batch = Switch().examples(3, 9, torch.Generator().manual_seed(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert targets == [2 + sum(tokens[: i + 1]) % 2 for i in range(9)]


def test_a_recurrent_model_waits_for_every_word_and_a_transformer_for_none() -> None:
    rnn, transformer = (CONTENDERS[name].fit(64, 64, 50_000) for name in ("rnn", "transformer"))
    assert chain(rnn, 1000) - chain(rnn, 10) == 990
    assert chain(transformer, 1000) == chain(transformer, 10)
    mamba = CONTENDERS["mamba2"].fit(64, 64, 50_000)
    assert chain(transformer, 320) < chain(mamba, 320) < chain(rnn, 320)
    for config in (rnn, mamba):
        one, two = (products(new(config, 0), length) for length in (10, 20))
        assert two == 2 * one
    one, two = (products(new(transformer, 0), length) for length in (1000, 2000))
    assert two > 2.1 * one  # each word looks at all before it


def test_what_reaches_the_cue_fades_in_a_network_that_forgets() -> None:
    problem = Recall()
    network = new(CONTENDERS["rnn"].fit(problem.vocab, problem.context, 50_000), 0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "weight_hh" in name:
                weight.mul_(0.3)
    near, far = (next(t for t in problem.tests() if (t.name, t.at) == ("words between", n)) for n in (8, 64))
    assert 0 <= fading(network, far) < 1e-3 * fading(network, near)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Results, Path]]:
    """A race of twenty steps a run, stopped in the middle and started again."""
    patch = pytest.MonkeyPatch()
    patch.setattr(course, "pace", lambda config, problem: 0.04)
    patch.setattr(course, "LENGTHS", (16, 64))
    patch.setattr(course, "LEAST", 5)
    patch.setattr(made_by_rule, "TESTED", 8)
    folder = tmp_path_factory.mktemp("races") / "one"
    stopped = list(islice(race(QUICK, folder), 14))[-1]
    assert not stopped.done
    with (folder / "results.jsonl").open("a") as log:
        log.write('{"kind": "run", "contender": "rn')  # killed while it wrote
    results = list(race(QUICK, folder))[-1]
    yield results, folder
    patch.undo()


def test_a_race_goes_on_where_it_was_stopped(ran: tuple[Results, Path]) -> None:
    results, folder = ran
    assert results.done
    seeds = {(run.problem, run.contender, run.by, run.seed) for run in results.runs}
    assert len(seeds) == len(results.runs) == 2 * (3 + 2)
    for line in (folder / "results.jsonl").read_text().splitlines():
        json.loads(line)
    again = list(race(QUICK, folder))[-1]  # all is there
    assert [run.curve for run in again.runs] == [run.curve for run in results.runs]


def test_the_rate_is_the_one_whose_trial_ended_lowest(ran: tuple[Results, Path]) -> None:
    results, _ = ran
    for problem in BY_RULE:
        trials = [run for run in results.trials if (run.problem, run.contender) == (problem, "rnn")]
        best = min(trials, key=lambda run: run.loss)
        assert {run.rate for run in results.of(problem, "rnn")} == {best.rate}


def test_another_race_is_not_run_over_the_first(ran: tuple[Results, Path]) -> None:
    with pytest.raises(LimelightError, match="holds a race with other settings"):
        next(race(Settings(models=("rnn", "gpt")), ran[1]))


def test_contenders_open_as_models(ran: tuple[Results, Path]) -> None:
    import limelight

    model = limelight.open(ran[1] / "models" / "transformer")
    assert isinstance(model, limelight.Model)
    assert model.look("The cat").words


def test_the_report_holds_every_number_and_asks_nobody(ran: tuple[Results, Path]) -> None:
    results, folder = ran
    page = write_report(results, problems(QUICK)[0], folder, "limelight race --seeds 2").read_text()
    assert "limelight race --seeds 2" in page
    assert page.count("<svg") == 7
    assert "<script" not in page
    assert " src=" not in page
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    right = [row for row in rows if row["what"] == "right"]
    assert len(right) == sum(len(run.right or []) for run in results.trials + results.runs)
    assert "| words between | 8 | 32 | 64 | 128 | 256 |" in (folder / "report.md").read_text()
    for name in ("recall", "switch", "text", "work", "held", "fading"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_conclusions_name_the_best_of_each_kind() -> None:
    results = Results(Settings(models=("rnn", "gru", "transformer")), 1, steps={"switch": 1})
    tests = len(Switch().tests())
    for name, right in (("rnn", 0.9), ("gru", 1.0), ("transformer", 0.5)):
        results.runs += [Run(name, "switch", "tokens", 1e-3, seed, 1, 1, [], [right] * tests) for seed in (1, 2)]
    first, last = conclusions(results, {"switch": Switch()})
    assert "word by word gru 1.00 ± 0.00; all at once transformer 0.50 ± 0.00 (chance 0.50)" in first
    assert "160 words (more than in training)" in last
