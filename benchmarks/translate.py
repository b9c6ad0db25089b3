"""An encoder–decoder beside CTranslate2: ``python -m benchmarks.translate [--json] [--runs N]``.

The base model of Vaswani et al. (2017), 6 + 6 layers and 61 million parameters, with random weights that are the same
in both, rounded to 8 bits by each in its own way. Every sentence has 25 tokens and becomes 25 others: none ends before.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import torch

import limelight
from benchmarks.engines import THREADS, MissingError, Remote
from benchmarks.report import beside, machine, table
from limelight.models.api import Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import preset

OURS, PEER = "limelight", "CTranslate2 int8"
VOCAB, LENGTH = 32_000, 25
START, END = 1, 2  # tokens that stand before and behind a target
FIRST_WORD = 4


class Engine(Protocol):
    """What is asked of an engine that translates."""

    def open(self) -> float:
        """Makes the model and opens it as it is served; seconds of the opening."""
        ...

    def translate(self, rows: int, beam: int) -> float:
        """Seconds in which so many sentences are translated in one batch; a beam of one is greedy."""
        ...

    def first(self, rows: int) -> list[int]:
        """The first token of each translation: what shows that both run the same model."""
        ...


class Limelight:
    """Ours, as a user opens a trained model."""

    def open(self) -> float:
        import tokenizers

        from limelight.checkpoints.save import save_checkpoint
        from limelight.text.parts import Parts
        from limelight.text.tokenizer import Tokenizer

        inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(words())}, "<unk>"))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "model"
            save_checkpoint(made(), Tokenizer(Parts(inner, bos="<s>", eos="</s>")), place)
            start = time.perf_counter()
            self.network = limelight.open(place, dtype="q8_0").network
            return time.perf_counter() - start

    @torch.inference_mode()
    def _search(self, rows: int, beam: int) -> Any:
        from limelight.decode import beam_search

        network = self.network
        state = network.start(network.encode(torch.tensor(sentences(rows))), LENGTH)
        tokens = torch.full((rows, 1), START)
        return beam_search(network, state, tokens, limits=[LENGTH] * rows, stop=(), beam=beam, forbidden=(END,))

    def translate(self, rows: int, beam: int) -> float:
        start = time.perf_counter()
        found = self._search(rows, beam)
        seconds = time.perf_counter() - start
        assert all(len(best.tokens) == LENGTH for (best,) in found)
        return seconds

    def first(self, rows: int) -> list[int]:
        return [best.tokens[0] for (best,) in self._search(rows, 1)]


class CTranslate2:
    """CTranslate2 with weights converted from the same network."""

    def __init__(self) -> None:
        import ctranslate2

        self.lib = ctranslate2

    def open(self) -> float:
        with tempfile.TemporaryDirectory() as folder:
            spec = self._spec(made())
            spec.validate()
            spec.optimize(quantization="int8")
            spec.save(folder)
            start = time.perf_counter()
            self.translator = self.lib.Translator(folder, compute_type="int8", intra_threads=THREADS, inter_threads=1)
            return time.perf_counter() - start

    def _spec(self, network: Seq2Seq) -> Any:
        from limelight.nn.positions import Positions

        specs = self.lib.specs
        layers, heads = len(network.encoder.blocks), network.encoder.blocks[0].attention.kv_heads
        spec = specs.TransformerSpec.from_config(layers, heads, pre_norm=False, activation=specs.Activation.RELU)
        at = Positions(torch.arange(2 * LENGTH), 2 * LENGTH)
        places = network.encoder.embeddings.positions(torch.zeros(1, 2 * LENGTH, network.config.width), at)[0]
        words_ = network.embed.weight.detach().numpy()
        for part, stack, embeddings in (
            (spec.encoder, network.encoder, spec.encoder.embeddings[0]),
            (spec.decoder, network.decoder, spec.decoder.embeddings),
        ):
            embeddings.weight = words_
            embeddings.multiply_by_sqrt_depth = True
            part.position_encodings.encodings = places.numpy()
            for layer, block in zip(part.layer, stack.blocks, strict=True):
                own, norm = block.attention, block.attention_norm
                _linear(layer.self_attention.linear[0], own.q, own.k, own.v)
                _linear(layer.self_attention.linear[1], own.out)
                _norm(layer.self_attention.layer_norm, norm)
                _linear(layer.ffn.linear_0, block.feedforward.up)
                _linear(layer.ffn.linear_1, block.feedforward.down)
                _norm(layer.ffn.layer_norm, block.feedforward_norm)
        for layer, block in zip(spec.decoder.layer, network.decoder.blocks, strict=True):
            cross = block.cross.attention
            _linear(layer.attention.linear[0], cross.q)
            _linear(layer.attention.linear[1], cross.k, cross.v)
            _linear(layer.attention.linear[2], cross.out)
            _norm(layer.attention.layer_norm, block.cross.norm)
        spec.decoder.projection.weight = words_
        spec.register_source_vocabulary(words())
        spec.register_target_vocabulary(words())
        spec.config.layer_norm_epsilon = network.encoder.blocks[0].attention_norm.eps
        return spec

    def _translate(self, rows: int, beam: int) -> Any:
        names = words()
        return self.translator.translate_batch(
            [[names[id] for id in sentence] for sentence in sentences(rows)],
            beam_size=beam,
            min_decoding_length=LENGTH,
            max_decoding_length=LENGTH,
        )

    def translate(self, rows: int, beam: int) -> float:
        start = time.perf_counter()
        found = self._translate(rows, beam)
        seconds = time.perf_counter() - start
        assert all(len(each.hypotheses[0]) == LENGTH for each in found)
        return seconds

    def first(self, rows: int) -> list[int]:
        return [words().index(each.hypotheses[0][0]) for each in self._translate(rows, 1)]


def _linear(spec: Any, *layers: Any) -> None:
    """Layers that read the same, one above the other."""
    spec.weight = torch.cat([layer.weight.detach() for layer in layers]).numpy()
    spec.bias = torch.cat([layer.bias.detach() for layer in layers]).numpy()


def _norm(spec: Any, norm: Any) -> None:
    spec.gamma, spec.beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()


def made() -> Seq2Seq:
    """The network, the same in every process."""
    network = build(preset("transformer2017-base", VOCAB, dropout=0.0))
    assert isinstance(network, Seq2Seq)
    initialise(network, torch.Generator().manual_seed(0))
    return network.eval()


def words() -> list[str]:
    """A vocabulary; what it spells plays no part."""
    return ["<unk>", "<s>", "</s>", "<pad>", *(f"w{i}" for i in range(FIRST_WORD, VOCAB))]


def sentences(rows: int) -> list[list[int]]:
    """Source sentences of random words."""
    ids = torch.randint(FIRST_WORD, VOCAB, (rows, LENGTH), generator=torch.Generator().manual_seed(1))
    return ids.tolist()


def engine(name: str) -> Engine:
    """An engine by the name it has in the tables."""
    return {OURS: Limelight, PEER: CTranslate2}[name]()


def measure(runs: int) -> dict[str, Any]:
    """All rows; engines take turns, and every figure is a median of `runs`."""
    missing: dict[str, str] = {}
    here: dict[str, Remote] = {}
    rows = []
    try:
        for name in (OURS, PEER):
            try:
                here[name] = Remote(name, "benchmarks.translate")
                here[name].ask("open")
            except MissingError as reason:
                missing[name] = str(reason)
        for beam in (1, 4):
            for count in (1, 32):
                times = [[each.ask("translate", count, beam) for each in here.values()] for _ in range(runs + 1)]
                speeds = [LENGTH * count / median(column) for column in zip(*times[1:], strict=True)]
                found = dict(zip(here, speeds, strict=True))
                way = "greedy" if beam == 1 else f"beam {beam}"
                ours = found.pop(OURS)
                rows.append(beside(f"25 → 25 tokens, {way}, batch {count}", "tokens/s", ours, found, missing))
        firsts = [each.ask("first", 32) for each in here.values()]
    finally:
        for each in here.values():
            each.close()
    same = sum(a == b for a, b in zip(*firsts, strict=True)) / 32 if len(firsts) == 2 else None
    return {
        "rows": [asdict(row) for row in rows],
        "same_first_token": same,
        "missing": missing,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=7, help="runs of each figure; for figures to be told, 5 or more")
    options = parser.parse_args()
    result = measure(options.runs)
    print(json.dumps(result, indent=2, ensure_ascii=False) if options.json else table(result))


if __name__ == "__main__":
    main()
