"""A race: equal terms, problems whose answers are known, and a report of what was measured."""

import csv
import json
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import cast

import numpy
import pytest
import torch
from torch import Tensor

import limelight
from limelight.checkpoints.save import save_checkpoint
from limelight.cli import main
from limelight.errors import ConfigError, LimelightError
from limelight.models.api import Decoder
from limelight.models.presets import count
from limelight.race import course
from limelight.race import problems as made_by_rule
from limelight.race.contenders import CONTENDERS, EQUAL, kept
from limelight.race.course import Results, Settings, problems, race
from limelight.race.found import conclusions, crossing, swaps
from limelight.race.problems import (
    BUILT_IN,
    WORDS,
    Recall,
    Senses,
    Switch,
)
from limelight.race.report import write_report
from limelight.race.scale import law
from limelight.race.senses import senses, two_groups
from limelight.race.texts import LITTLE, Text, Translation, paired, python, read
from limelight.race.training import Point, Run, fading, new, train
from limelight.race.work import Cost, chain, products
from limelight.train.batches import IGNORE
from limelight.train.tokenizers import train_tokenizer

QUICK = Settings(
    models=("rnn", "transformer"),
    problems=(*BUILT_IN, "senses"),
    data=(__file__,),
    budget=18,
    seeds=1,
    parameters=48_000,  # a quarter of them can be had whatever characters this file has
    words=("race",),
    scale=True,
)


@pytest.mark.parametrize("name", CONTENDERS)
@pytest.mark.parametrize(("vocab", "context"), [(153, 288), (4, 160), (512, 512)])
def test_all_have_as_many_parameters(name: str, vocab: int, context: int) -> None:
    assert count(CONTENDERS[name].fit(vocab, context, 100_000)) == pytest.approx(100_000, rel=EQUAL)


@pytest.mark.parametrize("name", CONTENDERS)
def test_each_learns_is_saved_and_opens_with_the_same_logits(name: str, tmp_path: Path) -> None:
    text = "A cat sat on the mat, and a dog lay in front of the fire. " * 3
    tokenizer = train_tokenizer([text], "character", 64, document=True)
    ids = torch.tensor(tokenizer.encode(text).ids)
    about = {"contender": name, "problem": "text", "by": "tokens", "rate": 1e-3, "seed": 1}
    config = CONTENDERS[name].fit(tokenizer.vocab, 64, 40_000)
    done, network = train(config, Text(ids, ids, tokenizer.vocab), about, steps=2)
    assert done.steps == 2
    save_checkpoint(network, tokenizer, tmp_path)
    model = limelight.open(tmp_path)
    assert isinstance(model, limelight.Model)
    tokens = ids[None, :50]
    with torch.inference_mode():
        torch.testing.assert_close(model.network(tokens), network(tokens))
    assert model.look("A cat sat").words


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


@pytest.mark.parametrize(
    ("problems", "said"),
    [(("mqar", "txet"), "did you mean 'text'"), (("text", "text"), "each runs once"), ((), "needs a problem")],
)
def test_wrong_problems_are_named(problems: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(problems=problems)


@pytest.mark.parametrize("name", ["rnn", "lstm", "lstm+attention", "mamba2", "gpt", "transformer"])
def test_contenders_that_keep_as_much(name: str) -> None:
    config = CONTENDERS[name].keeping(40, 64, 2048, 32)
    assert kept(config, 32) == pytest.approx(2048, rel=EQUAL)
    with pytest.raises(LimelightError, match="cannot keep 1 numbers of 32 tokens; the nearest is"):
        CONTENDERS[name].keeping(40, 64, 1, 32)


def test_pairs_are_asked_for_their_translation_alone(tmp_path: Path) -> None:
    pairs = [(f"the dog {n} barks", f"der Hund {n} bellt") for n in range(60)] + [("x" * 100, "y" * 100)]
    for number, name in enumerate(("train.en", "train.de")):
        (tmp_path / name).write_text("".join(f"{pair[number]}\n" for pair in pairs))
    (tmp_path / "pairs.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    two = [str(tmp_path / "train.en"), str(tmp_path / "train.de")]
    problem, tokenizer, _ = read(two)
    assert not paired([two[0]])
    assert isinstance(problem, Translation)
    assert torch.equal(problem.training, cast("Translation", read([str(tmp_path / "pairs.tsv")])[0]).training)
    batch = problem.batch(torch.Generator().manual_seed(0))
    assert len(problem.training) + len(problem.validation) == 60  # the pair that is too long is left out
    for tokens, targets in zip(batch.tokens, batch.targets, strict=True):
        said = tokenizer.decode(targets[targets != IGNORE].tolist())
        assert said.startswith("der Hund")
        assert tokenizer.decode(tokens.tolist()).startswith(said.replace("der Hund", "the dog").split(" bellt")[0])
        asked = (targets != IGNORE).nonzero()[:, 0]
        assert torch.equal(tokens[asked[1:]], targets[asked[:-1]])


def test_a_little_text_is_read_often_and_its_dropout_chosen_by_the_loss(tmp_path: Path) -> None:
    text = Text(torch.arange(5000) % 30, torch.arange(500) % 30, 40)
    text.training = text.training.repeat(10)
    assert len(text.little().training) == LITTLE
    assert course.over(text.little(), 100) == pytest.approx(100 * 1024 / LITTLE)
    assert course.over(Recall(), 100) == 0.0
    results = Results(Settings(models=("rnn", "gpt"), problems=("little",)), 1)
    for by, dropout, loss in (("trial", 0.0, 1.0), ("whole trial", 0.0, 3.0), ("whole trial", 0.4, 2.0)):
        point = Point(1, 1, 1.0, loss)
        results.trials.append(Run("rnn", "little", by, 1e-3, 0, 1, 1, [point], dropout=dropout))
    assert (results.rate("little", "rnn"), results.dropout("little", "rnn")) == (1e-3, 0.4)
    assert results.dropout("little", "gpt") == 0.0


def test_the_length_at_which_the_other_kind_costs_less() -> None:
    def cost(name: str, length: int, seconds: float) -> Cost:
        return Cost(name, length, seconds, seconds, seconds, 1, 1, 1)

    costs = [cost("lstm", 16, 2), cost("lstm", 64, 4), cost("gpt", 16, 1), cost("gpt", 64, 9), cost("gpt", 256, 99)]
    assert swaps(costs, "trained") == [32.0]
    assert crossing(costs).endswith("at 16 tokens all at once; at 64 tokens word by word.")


def test_a_short_convolution_in_front_joins_neighbours_of_the_past() -> None:
    config = CONTENDERS["rnn"].fit(64, 64, 20_000)
    network, tokens = new(config, 0, conv=4).eval(), torch.randint(64, (1, 20))
    with torch.inference_mode():
        vectors = network.embed(tokens)
        tokens[0, 10] = (tokens[0, 10] + 1) % 64
        changed = (network.embed(tokens) != vectors).any(-1)[0].nonzero()[:, 0].tolist()
    assert changed == [10, 11, 12, 13]
    assert sum(p.numel() for p in network.parameters()) == count(config) + 4 * config.width


def test_senses_that_a_network_puts_at_two_places_are_told_apart_and_others_are_not() -> None:
    class Telling(Decoder):
        """It reads the first word told, or nothing but the last."""

        def __init__(self, hears: bool) -> None:
            torch.nn.Module.__init__(self)
            self.hears = hears

        def read(self, tokens: Tensor, *_: object, **__: object) -> Tensor:
            second = torch.isin(tokens[:, 1], Senses().told[:, 1].flatten()) if self.hears else torch.zeros(len(tokens))
            noise = torch.rand(len(tokens), tokens.shape[1], 4, generator=torch.Generator().manual_seed(0)) / 10
            return noise + torch.stack((1 - second.float(), second.float(), *torch.zeros(2, len(tokens))), 1)[:, None]

    for sense in senses("one", Telling(hears=True), Senses()):
        assert sense.right == 1.0
        assert sense.apart > 0.8
        assert sense.within < 0.1
    for sense in senses("none", Telling(hears=False), Senses()):
        assert sense.right < 0.8
        assert sense.apart == pytest.approx(sense.within, abs=0.05)


def test_two_groups_are_found_and_how_well_they_are_split() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20, 8, generator=generator) / 20
    vectors = torch.nn.functional.normalize(noise + torch.eye(8)[torch.arange(20) % 2], dim=-1)
    group, split = two_groups(vectors)
    assert len({(int(g), i % 2) for i, g in enumerate(group)}) == 2
    assert split > 0.8
    assert two_groups(torch.ones(5, 8) / 8**0.5)[1] == 0.0


def test_a_power_law_is_found_with_its_uncertainty() -> None:
    xs = [10.0, 20.0, 40.0, 80.0]
    found = law(xs, [3 * x**-0.2 for x in xs])
    assert found is not None
    assert (found.factor, found.power, found.error) == pytest.approx((3, 0.2, 0), abs=1e-7)
    shaken = [3 * x**-0.2 * (1 + e) for x, e in zip(xs, (0.05, -0.05, 0.05, -0.05), strict=True)]
    (slope, _), spread = numpy.polyfit(numpy.log(xs), numpy.log(shaken), 1, cov=True)
    found = law(xs, shaken)
    assert found is not None
    assert (found.power, found.error) == pytest.approx((-slope, spread[0, 0] ** 0.5))
    assert law(xs[:2], xs[:2]) is None


def test_a_word_that_the_text_hardly_has_is_named_before_anything_runs() -> None:
    with pytest.raises(
        LimelightError, match="the text has the word 'xylophone' 2 times; to compare its places takes 8"
    ):
        problems(Settings(data=(__file__,), words=("xylophone",)))
    with pytest.raises(ConfigError, match="must run on a text"):
        Settings(problems=("recall",), scale=True)


def test_smaller_networks_and_less_text_are_run_and_their_words_compared(ran: tuple[Results, Path]) -> None:
    results, _ = ran
    sizes, losses = results.scaled("rnn", "parameters")
    assert [round(size / 12_000) for size in sizes] == [1, 2, 4]
    assert len(losses) == 3
    tokens, _ = results.scaled("rnn", "data")
    assert tokens[0] < tokens[1] < tokens[2]
    assert [(word.word, word.contender) for word in results.words] == [("race", "rnn"), ("race", "transformer")]
    for word in results.words:
        assert word.count >= 8
        assert all(place.endswith("race") for group in word.groups for place in group)
    assert {(sense.contender, sense.word) for sense in results.senses} == set(product(QUICK.models, WORDS))


def test_a_recurrent_model_waits_for_every_word_and_a_transformer_for_none() -> None:
    rnn, transformer = (CONTENDERS[name].fit(64, 64, 50_000) for name in ("rnn", "transformer"))
    assert chain(rnn, 1000) - chain(rnn, 10) == 990
    assert chain(transformer, 1000) == chain(transformer, 10)
    units = [CONTENDERS[name].fit(64, 64, 50_000) for name in ("mamba2", "delta", "mingru", "rwkv7")]
    for unit in units:
        assert chain(transformer, 320) < chain(unit, 320) < chain(rnn, 320)
    listening = CONTENDERS["lstm+attention"].fit(64, 64, 50_000)
    assert chain(listening, 1000) - chain(listening, 10) == 990
    for config in (rnn, *units):
        one, two = (products(new(config, 0), length) for length in (10, 20))
        assert two == 2 * one
    for config in (transformer, listening):
        one, two = (products(new(config, 0), length) for length in (1000, 2000))
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
    patch.setattr(course, "LEAST", 2)
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
    assert len(seeds) == len(results.runs) == 2 * (4 + 2 + 4)
    for line in (folder / "results.jsonl").read_text().splitlines():
        json.loads(line)
    again = list(race(QUICK, folder))[-1]  # all is there
    assert [run.curve for run in again.runs] == [run.curve for run in results.runs]


def test_the_rate_is_the_one_whose_trial_ended_lowest(ran: tuple[Results, Path]) -> None:
    results, _ = ran
    for problem in QUICK.problems:
        trials = [run for run in results.trials if (run.problem, run.contender) == (problem, "rnn")]
        best = min(trials, key=lambda run: run.loss)
        assert all(run.right is None for run in trials)  # asked for nothing but its loss
        assert {run.rate for run in results.of(problem, "rnn")} == {best.rate}


def test_without_a_text_there_is_pythons_own() -> None:
    assert len(python()) > 40 * Text.context


def test_another_race_is_not_run_over_the_first(ran: tuple[Results, Path]) -> None:
    with pytest.raises(LimelightError, match="holds a race with other settings"):
        next(race(Settings(models=("rnn", "gpt")), ran[1]))


def test_what_cannot_be_run_leaves_the_folder_to_others(tmp_path: Path) -> None:
    for settings, said in (
        (Settings(problems=("switch",), state=10), "cannot keep 10 numbers of 5 tokens"),
        (Settings(problems=("switch",), parameters=10), "cannot have 10 parameters"),
    ):
        with pytest.raises(LimelightError, match=said):
            next(race(settings, tmp_path))


def test_contenders_open_as_models(ran: tuple[Results, Path]) -> None:
    model = limelight.open(ran[1] / "models" / "transformer")
    assert isinstance(model, limelight.Model)
    assert model.look("The cat").words


def test_the_report_holds_every_number_and_asks_nobody(ran: tuple[Results, Path]) -> None:
    results, folder = ran
    page = write_report(results, problems(QUICK)[0], folder, "limelight race --seeds 2").read_text()
    assert "limelight race --seeds 2" in page
    assert page.count("<svg") == 10
    assert "<script" not in page
    assert " src=" not in page
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    right = [row for row in rows if row["what"] == "right"]
    assert len(right) == sum(len(run.right or []) for run in results.trials + results.runs)
    assert "| words between | 8 | 32 | 64 | 128 | 256 |" in (folder / "report.md").read_text()
    for name in ("recall", "switch", "text", "work", "held", "fading", "senses", "apart", "scale"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_leaves_a_report_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(settings: Settings, folder: Path, tell: object) -> Iterator[Results]:
        folder.mkdir()
        results = Results(settings, 1, steps={"switch": 1})
        results.runs.append(Run("rnn", "switch", "tokens", 1e-3, 1, 1, 1, [], [0.9] * 6, [4] * 6))
        yield results
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "race", stopped)
    with pytest.raises(SystemExit) as ended:
        main(["race", "--problems", "switch", "--models", "rnn,gpt", "--state", "2048", "--out", str(tmp_path / "one")])
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 130
    assert "the race is not through; this goes on with it: limelight race --models rnn,gpt --problems switch" in said
    assert "--state 2048" in said
    assert "0.90" in (tmp_path / "one" / "report.md").read_text()


def test_conclusions_name_the_best_of_each_kind() -> None:
    results = Results(Settings(models=("rnn", "gru", "transformer")), 1, steps={"switch": 1})
    tests = len(Switch().tests())
    for name, right in (("rnn", 0.9), ("gru", 1.0), ("transformer", 0.5)):
        results.runs += [Run(name, "switch", "tokens", 1e-3, seed, 1, 1, [], [right] * tests) for seed in (1, 2)]
    first, last = conclusions(results, {"switch": Switch()})
    assert "word by word gru 1.00 ± 0.00; all at once transformer 0.50 ± 0.00 (chance 0.50)" in first
    assert "160 words (more than in training)" in last
    assert first.endswith("Not learned by any that reads all at once.")


def test_who_has_not_learned_a_problem_is_not_ranked() -> None:
    results = Results(Settings(models=("rnn", "gru", "transformer")), 1, steps={"switch": 1})
    easy = len(Switch().tests()) - 1
    for name, right in (("rnn", [0.5] * easy + [0.9]), ("gru", [1.0] * easy + [0.8]), ("transformer", [1.0] * 6)):
        results.runs.append(Run(name, "switch", "tokens", 1e-3, 1, 1, 1, [], right))
    assert (
        "word by word gru 0.80; all at once transformer 1.00 (chance 0.50)."
        in conclusions(results, {"switch": Switch()})[-1]
    )
