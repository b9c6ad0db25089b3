"""Models that write: a translator, from pairs of texts, and a language model, from texts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limelight.checkpoints.open import Opened, open_checkpoint
from limelight.checkpoints.source import resolve
from limelight.decode import Sampling, generate
from limelight.errors import RequestError, SourceError
from limelight.models.api import Decoder, Encoder, LanguageModel, Network, Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import PRESETS, count, find, fit, preset, with_dropout
from limelight.models.ties import tie, ties
from limelight.tasks.evaluation.translation import bleu
from limelight.tasks.prompts import in_front
from limelight.tasks.training.task import Ready, Task
from limelight.tasks.translate import Language, marked, search
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import IGNORE, Corpus
from limelight.train.loop import Hooks
from limelight.train.lora import tune
from limelight.train.loss import predicting
from limelight.train.parallel import World, memory
from limelight.train.prepare import LONGEST, Prepared, prepare, save_as
from limelight.train.settings import PAIRED, Settings

FINE_TUNING: dict[str, Any] = {"epochs": 3.0, "dropout": 0.0, "smoothing": 0.0, "schedule": "cosine", "decay": 0.0}
"""What is right for a model that knows much already, where the user says nothing else."""

SCORED = 500  # validation pairs at most that BLEU is watched on
SHOWN = 5  # outputs in samples.jsonl
PROMPT, WRITTEN = 16, 64  # tokens of a text that a sample continues, and tokens that it adds


class Writing(Task):
    """To translate, or to generate text."""

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        self.name = name = before.model if before else given.get("model", "")
        self.task = task = before.task if before else given.get("task", "")
        self.base = base = _opened(name) if name and not is_preset(name) else None
        self.joined = task in PAIRED and _continues(name, base)
        self.given = given
        if before is None:
            _check(given, name, base, self.joined)
            if base is not None:
                room = _room(base, self.joined)
                rate = 3e-4 if given.get("lora") else 5e-5
                longest = min(LONGEST.get(task, 256), room)
                fitting = {"lr": rate, "context": min(256, room), "longest": longest}
                self.given = {**FINE_TUNING, **fitting, **given}

    def ready(self, folder: Path, world: World) -> Ready:
        base = self.base
        kept = None if base is None else (base.source, base.tokenizer)
        front = in_front(base.network.config) if base is not None and self.task == "summarise" else ""
        ready = prepare(self.given, folder, world, tokenizers=kept, joined=self.joined, front=front)
        settings = ready.run.settings
        torch.manual_seed(settings.seed)
        network = new(settings, *ready.tokenizers) if base is None else _further(base, settings)
        if isinstance(network, Decoder):
            network.config = marked(network.config, translates=self.joined)
        if isinstance(network, Decoder) and ready.highest >= network.config.vocab:
            raise RequestError(
                f"{self.name} knows {network.config.vocab:,} tokens, but its tokenizer makes token {ready.highest:,} of"
                " the text; it cannot learn from it"
            )
        said = (f"left out: {ready.dropped:,} pairs that are empty or too long for {settings.longest:,} tokens",)
        hooks = _hooks(ready)
        return Ready(
            ready.run, network, ready.training, ready.validation, hooks, predicting, said if ready.dropped else ()
        )


def _check(given: Mapping[str, Any], name: str, base: Opened | None, joined: bool) -> None:
    """Raises RequestError for options that do not go together, before anything is read."""
    task = given.get("task")
    if task == "generate" and name and not _continues(name, base):
        raise RequestError(f"{name} translates; to generate text train a language model such as gpt-modern-tiny")
    if joined and not given.get("shared", True):
        raise RequestError("a language model reads both languages with one vocabulary; leave shared = true")
    if given.get("lora") and base is None:
        raise RequestError("lora trains a model on that is there; name one as model, or leave lora out")
    if given.get("watch") == "bleu":
        if task != "translate":
            raise RequestError('watch = "bleu" needs translations to score; watch the loss instead')
        bleu(["a"], ["a"])  # says what is missing
    if base is not None and given.get("context", 0) > base.network.context:
        raise RequestError(f"{name} sees at most {base.network.context} tokens; set context to no more than that")
    if base is not None and task in PAIRED and given.get("longest", 0) > (room := _room(base, joined)):
        raise RequestError(f"{name} reads sentences of at most {room} tokens; set longest to no more than that")


def _room(base: Opened, joined: bool) -> int:
    """The most tokens of a window, or of a sentence where source and target are read as one."""
    return (base.network.context - 1) // 2 if joined else base.network.context - isinstance(base.network, Seq2Seq)


def is_preset(name: str) -> bool:
    """Whether a model is to be made from nothing. Raises ConfigError or SourceError if nobody knows the name."""
    if name in PRESETS:
        return True
    try:
        resolve(name)
    except SourceError:
        if os.sep not in name:
            find(name)  # says which presets there are
        raise
    return False


def _opened(name: str) -> Opened:
    return open_checkpoint(name, dtype="float32")  # other types cannot take small steps


def _continues(name: str, base: Opened | None) -> bool:
    """Whether the model is a language model; without a name, the one that fits the task is chosen."""
    return isinstance(base.network, Decoder) if base is not None else bool(name) and not find(name).translates


def new(settings: Settings, source: Tokenizer, target: Tokenizer) -> LanguageModel:
    """The preset's model, with weights drawn by the run's seed. Raises RequestError for one that memory cannot hold."""
    found = find(settings.model)
    needed = settings.longest + 1 if settings.task == "compose" else settings.context
    if settings.task in PAIRED:
        longest = settings.longest + 1
        needed = max(found.context, longest if found.translates else 2 * longest)
    source_vocab = None if source is target or not found.translates else source.vocab
    width = settings.width
    if settings.parameters:
        width = fit(settings.model, target.vocab, settings.parameters, source_vocab=source_vocab).width
    config = preset(
        settings.model,
        target.vocab,
        source_vocab=source_vocab,
        context=needed,
        width=width or None,
        dropout=settings.dropout,
    )
    needed, there = 12 * count(config), memory()  # weights, gradients, and what Muon keeps; AdamW keeps twice that
    if settings.device == "cpu" and there is not None and needed > there:
        raise RequestError(
            f"a model of {needed // 12:,} weights takes at least {needed / 1e9:,.0f} GB to train, and this machine has"
            f" {there / 1e9:,.0f} GB; choose a smaller one or a lower width"
        )
    network = build(config)
    assert isinstance(network, Decoder | Seq2Seq)
    initialise(network, torch.Generator().manual_seed(settings.seed))
    return network


def _further(base: Opened, settings: Settings) -> LanguageModel:
    """The opened model, ready to learn: all of it, or adapters beside it."""
    network = base.network
    if isinstance(network, Encoder):
        raise RequestError(
            f"{base.path} is an encoder, which writes no text; continue a language model or a translator"
        )
    if settings.dropout:
        weights = network.state_dict()
        network = build(with_dropout(network.config, settings.dropout), "meta")
        repeated = ties(network)
        network.load_state_dict(weights, assign=True)
        tie(network, repeated)
    assert isinstance(network, Decoder | Seq2Seq)
    tune(network, settings.lora)
    return network


def _hooks(ready: Prepared) -> Hooks:
    settings, (source, target) = ready.run.settings, ready.tokenizers
    save = save_as(target, source)
    if settings.task == "generate":
        prompts = [tokens[:PROMPT] for _, tokens in _examples(ready.validation, SHOWN)]
        return Hooks(save, samples=lambda network: _continued(network, target, prompts))
    language = Language(source, target)
    scored = _examples(ready.validation, SCORED)
    references = [language.write(target_ids) for _, target_ids in scored]

    def measures(network: Network) -> dict[str, float]:
        texts = _written(network, language, [source_ids for source_ids, _ in scored])
        return {"bleu": bleu(texts, references).value}

    def samples(network: Network) -> list[str]:
        sources = [source_ids for source_ids, _ in scored[:SHOWN]]
        texts = _written(network, language, sources)
        asked = (" ".join(source.decode(ids).split()) for ids in sources)
        return [f"{s} → {text} (reference: {r})" for s, text, r in zip(asked, texts, references, strict=False)]

    return Hooks(save, measures=measures if settings.watch == "bleu" else None, samples=samples)


def _examples(corpus: Corpus, count: int) -> list[tuple[list[int], list[int]]]:
    """Up to `count` examples from all over a corpus, as ids without marks: source (empty for running text), target."""
    indices = np.unique(np.linspace(0, len(corpus) - 1, count).astype(np.int64))
    batch = corpus.batch(indices, 0)
    examples = []
    for row, wanted in enumerate(batch.targets != IGNORE):
        target = batch.targets[row, wanted].tolist()
        if batch.source is not None and batch.lengths is not None:
            source = batch.source[row, : int(batch.lengths[row]) - 1].tolist()
        else:
            source = batch.tokens[row, : int(wanted.int().argmax())].tolist()
        examples.append((source, target[:-1]))
    return examples


def _written(network: Network, language: Language, sources: list[list[int]]) -> list[str]:
    """The likeliest translation of each source, found greedily, which is quick."""
    assert not isinstance(network, Encoder)
    texts = []
    for at in range(0, len(sources), 64):
        found = search(network, language, sources[at : at + 64], 1, 1.0, 1)
        texts += [language.write(best.tokens) for best, *_ in found]
    return texts


def _continued(network: Network, tokenizer: Tokenizer, prompts: list[list[int]]) -> list[str]:
    """How the model goes on from each prompt, with the same dice every time."""
    assert isinstance(network, Decoder)
    ids = [list(prompt) for prompt in prompts]
    with torch.random.fork_rng():
        sampling = Sampling(temperature=0.8, seed=1)
        for step in generate(network, prompts, max_tokens=WRITTEN, sampling=sampling, stop=tokenizer.eos):
            for token in step:
                ids[token.row].append(token.id)
    texts = (tokenizer.decode(each[:PROMPT]) for each in ids), (tokenizer.decode(each) for each in ids)
    return [f"{prompt} → {whole[len(prompt) :]}" for prompt, whole in zip(*texts, strict=True)]
