"""Writing, reading and training on an accelerator: ``python -m benchmarks.gpu [--json] [--device cuda] [--small]``.

Beside transformers with ``torch.compile`` (a static cache for writing, the whole step for training), and beside what
the machine allows, measured in the same run: the bytes that a token must read at the bandwidth of its memory, and the
operations of a prompt or a step at the speed of its products. All weights are random, in bfloat16 where the device
computes in it. A few small models are held against the same on the CPU first; where they differ, the program says so
and ends with 1.

Without a CUDA device it runs in a small form on the CPU, which shows that it runs. Everything takes less than 8 minutes
on an H100; what has not begun after that is left out and named.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import Row, beside, machine, table
from limelight.decode import collect, generate
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.gpt import gpt, modern
from limelight.models.init import initialise
from limelight.quant import quantise
from limelight.train.batches import Batch
from limelight.train.parallel import World
from limelight.train.settings import Settings, fastest
from limelight.train.trainee import Trainee

LIMIT = 420  # seconds after which nothing new is begun
RUNS = 3  # of which the median is told, after one that does not count
PEER = "transformers"


@dataclass(frozen=True)
class Sizes:
    """written: a Llama's layers, width, heads and vocabulary. trained: a GPT-2's. rows: sequences together. after:
    tokens in front of each. made: of each. read: tokens of a prompt. batch, context: rows of a training step, tokens of
    each. product, copied: sizes of the products and copies that show what the machine can do."""

    written: tuple[int, int, int, int]
    trained: tuple[int, int, int, int]
    rows: int
    after: int
    made: int
    read: int
    batch: int
    context: int
    product: int
    copied: int


LARGE = Sizes((22, 2048, 32, 32_000), (12, 768, 12, 50_304), 64, 128, 64, 2048, 16, 1024, 8192, 1 << 30)
SMALL = Sizes((2, 64, 4, 500), (2, 64, 4, 500), 4, 8, 4, 32, 2, 16, 256, 1 << 22)


class Bench:
    """One run on one device."""

    def __init__(self, device: torch.device, sizes: Sizes) -> None:
        self.device, self.sizes = device, sizes
        self.dtype: torch.dtype = getattr(torch, fastest(str(device)))
        self.compiles = device.type == "cuda"
        self.began = time.perf_counter()
        self.rows: list[Row] = []
        self.figures: dict[str, float] = {}
        self.missing: dict[str, str] = {}

    def run(self) -> dict[str, Any]:
        """All rows; what else was found, by name."""
        self.figures["memory, GB/s"] = self._bandwidth() / 1e9
        self.figures["products, TFLOP/s"] = self._products() / 1e12
        network = self._network(modern)
        self._part("write 1 sequence", partial(self._writing, network, 1))
        self._part(f"write {self.sizes.rows} sequences", partial(self._writing, network, self.sizes.rows))
        self._part(f"read {self.sizes.read} tokens", partial(self._reading, network))
        self._part("train", self._training)
        return {
            "rows": [asdict(row) for row in self.rows],
            **self.figures,
            "missing": self.missing,
            "machine": machine() | {"device": self._name()},
        }

    def _part(self, name: str, measure: Callable[[], None]) -> None:
        if time.perf_counter() - self.began > LIMIT:
            self.missing[name] = f"more than {LIMIT} s were over"
            return
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        measure()
        if self.compiles:
            torch.cuda.empty_cache()

    def _peer(self, name: str, measure: Callable[[], float]) -> dict[str, float]:
        """The peer's figure, or nothing where it cannot be measured, which is noted."""
        try:
            return {PEER + (" compiled" if self.compiles else ""): measure()}
        except Exception as error:  # not installed, or what it compiles does not run here
            self.missing[f"{PEER}, {name}"] = f"{type(error).__name__}: {error}".splitlines()[0]
            return {}

    def _told(self, name: str, ours: float, bound: float, peer: dict[str, float]) -> None:
        """tokens a second; bound: what the machine allows."""
        self.rows.append(beside(name, "tokens/s", ours, peer, {} if peer else {PEER: "see below"}))
        self.figures[f"share of what is possible, {name}"] = ours / bound

    def _seconds(self, run: Callable[[], object]) -> float:
        times = []
        for _ in range(RUNS + 1):
            self._wait()
            began = time.perf_counter()
            run()
            self._wait()
            times.append(time.perf_counter() - began)
        return median(times[1:])

    def _wait(self) -> None:
        if self.compiles:
            torch.cuda.synchronize()

    def _name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.compiles else "cpu"

    def _bandwidth(self) -> float:
        """Bytes a second, read and written."""
        a = torch.zeros(self.sizes.copied, dtype=torch.uint8, device=self.device)
        b = torch.empty_like(a)
        return 2 * a.numel() / self._seconds(lambda: b.copy_(a))

    def _products(self) -> float:
        """Operations a second of a square product."""
        n = self.sizes.product
        a = torch.ones(n, n, dtype=self.dtype, device=self.device)
        return 2 * n**3 / self._seconds(lambda: a @ a)

    def _network(self, kind: Callable[..., Any], dtype: torch.dtype | None = None) -> Decoder:
        layers, width, heads, vocab = self.sizes.written if kind is modern else self.sizes.trained
        context = max(self.sizes.read, self.sizes.after + self.sizes.made + 1, self.sizes.context)
        config = kind(vocab=vocab, context=context, layers=layers, width=width, heads=heads, dropout=0.0)
        network = build(config, self.device, self.dtype if dtype is None else dtype)
        assert isinstance(network, Decoder)
        initialise(network)
        return network.eval()

    # ---- writing and reading

    def _writing(self, network: Decoder, rows: int) -> None:
        after, made = self.sizes.after, self.sizes.made
        prompts = torch.randint(5, network.vocab, (rows, after)).tolist()
        name = f"write {rows} behind {after}"

        def ours() -> float:
            steps = generate(network, prompts, max_tokens=made + 1, draft=None)
            next(steps)
            self._wait()
            began = time.perf_counter()
            count = sum(len(step) for step in steps)
            assert count == rows * made
            return time.perf_counter() - began

        seconds = median([ours() for _ in range(RUNS + 1)][1:])
        weights = sum(p.nbytes for p in network.parameters())
        state = network.start(1, 1).nbytes * rows * (after + made / 2)
        bound = rows * self.figures["memory, GB/s"] * 1e9 / (weights + state)
        self._told(name, rows * made / seconds, bound, self._peer(name, lambda: self._peer_writing(prompts)))

    def _peer_writing(self, prompts: list[list[int]]) -> float:
        model, made = self._llama(), self.sizes.made
        given = torch.tensor(prompts, device=self.device)
        options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(given)}
        if self.compiles:
            options["cache_implementation"] = "static"

        def write(tokens: int) -> None:
            model.generate(given, max_new_tokens=tokens, min_new_tokens=tokens, **options)

        with torch.inference_mode():
            seconds = self._seconds(lambda: write(made + 1)) - self._seconds(lambda: write(1))
        return len(prompts) * made / max(seconds, 1e-9)

    def _llama(self) -> Any:
        """The network's shape in transformers."""
        from transformers import LlamaConfig, LlamaForCausalLM

        layers, width, heads, vocab = self.sizes.written
        config = LlamaConfig(
            vocab_size=vocab,
            hidden_size=width,
            intermediate_size=round(4 * width * 2 / 3 / 32) * 32,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            eos_token_id=None,
        )
        with torch.device(self.device):
            return LlamaForCausalLM(config).to(self.dtype).eval()

    @torch.inference_mode()
    def _reading(self, network: Decoder) -> None:
        tokens = self.sizes.read
        name = f"read {tokens}"
        given = torch.randint(5, network.vocab, (1, tokens), device=self.device)
        seconds = self._seconds(lambda: network.step(given, network.start(1, tokens), last=True))
        weights = sum(p.numel() for p in network.decoder.parameters())
        bound = self.figures["products, TFLOP/s"] * 1e12 / (2 * weights)

        def peer() -> float:
            model = self._llama()
            read = torch.compile(model) if self.compiles else model
            return tokens / self._seconds(lambda: read(given, logits_to_keep=1))

        self._told(name, tokens / seconds, bound, self._peer(name, peer))

    # ---- training

    def _training(self) -> None:
        batch, context = self.sizes.batch, self.sizes.context
        network = self._network(gpt, torch.float32).train()
        tokens = torch.randint(5, network.vocab, (batch, context + 1))
        parts = [Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()).to(self.device)]
        precision = fastest(str(self.device))
        settings = Settings(
            task="generate",
            smoothing=0.0,
            precision=precision,
            optimizer="adamw",
            compile=self.compiles,
            device=self.device.type,
        )
        trainee = Trainee(network, settings, World(0, 1, self.device))
        weights = sum(p.numel() for p in network.parameters())
        name = "train GPT-2's shape"
        seconds = self._seconds(lambda: trainee.step(parts, batch * context, 1e-4, 1))
        bound = self.figures["products, TFLOP/s"] * 1e12 / (6 * weights)
        self._told(name, batch * context / seconds, bound, self._peer(name, lambda: self._peer_training(parts[0])))

    def _peer_training(self, batch: Batch) -> float:
        from transformers import GPT2Config, GPT2LMHeadModel

        layers, width, heads, vocab = self.sizes.trained
        config = GPT2Config(
            vocab_size=vocab,
            n_positions=self.sizes.context,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        model = GPT2LMHeadModel(config).to(self.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        run = torch.compile(model) if self.compiles else model

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is torch.bfloat16):
                loss = run(batch.tokens, labels=batch.tokens).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        return batch.tokens.numel() / self._seconds(step)


# ---- the same as on the CPU


def compared(device: torch.device) -> dict[str, float]:
    """How far what small models give on a device is from what they give on the CPU, in float32.

    That is: logits of rows of different lengths, read and written, also over 8-bit weights; how many tokens written
    differ; the loss after some steps of training.
    """
    found: dict[str, float] = {}
    for kind in (modern, gpt):
        config = kind(vocab=99, context=64, layers=2, width=64, heads=4, dropout=0.0)
        torch.manual_seed(0)
        network = build(config)
        assert isinstance(network, Decoder)
        initialise(network)
        tokens = torch.randint(5, 99, (3, 21))
        there = build(config)
        assert isinstance(there, Decoder)
        there.load_state_dict(network.state_dict())
        there = there.to(device)
        name = config.family
        found[f"logits, {name}"] = _apart(_stepped(network, tokens), _stepped(there, tokens))
        prompts = [row[:length].tolist() for row, length in zip(tokens, (21, 3, 9), strict=True)]
        here, other = ([row.ids for row in collect(generate(n, prompts, max_tokens=20))] for n in (network, there))
        found[f"tokens, {name}"] = sum(
            a != b for x, y in zip(here, other, strict=True) for a, b in zip(x, y, strict=True)
        )
        found[f"loss, {name}"] = abs(_trained(network, tokens, torch.device("cpu")) - _trained(there, tokens, device))
        quantise(network.eval()), quantise(there.cpu().eval()).to(device)
        found[f"8-bit logits, {name}"] = _apart(_stepped(network, tokens), _stepped(there, tokens))
    return found


TOLERANCE = {"logits": 1e-3, "8-bit logits": 5e-2, "tokens": 0.0, "loss": 1e-3}
"""By how much a device may differ; over 8-bit weights, only the CPU rounds the inputs, too."""


def faults(found: dict[str, float]) -> list[str]:
    """What differs by more than it may."""
    return [name for name, apart in found.items() if not apart <= TOLERANCE[name.partition(",")[0]]]


@torch.inference_mode()
def _stepped(network: Decoder, tokens: Tensor) -> Tensor:
    """Logits [3, V · 4] behind rows of different lengths and behind three tokens more."""
    state = network.start(len(tokens), 32)
    given = tokens.to(network.device)
    logits = [network.step(given, state, torch.tensor([21, 3, 9]), last=True)]
    logits += [network.step(given[:, at : at + 1], state) for at in range(3)]
    return torch.cat(logits, 1).flatten(1).cpu()


def _apart(here: Tensor, there: Tensor) -> float:
    """The greatest difference, in typical sizes."""
    return float((here - there).abs().max() / here.std())


def _trained(network: Decoder, tokens: Tensor, device: torch.device) -> float:
    settings = Settings(task="generate", smoothing=0.1, precision="float32", optimizer="adamw", device=device.type)
    trainee = Trainee(network.train(), settings, World(0, 1, device))
    parts = [Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()).to(device)]
    losses = [float(trainee.step(parts, 60, 1e-3, step)[0][1]) / 60 for step in range(1, 6)]
    return losses[-1] if all(map(math.isfinite, losses)) else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--small", action="store_true", help="the small form, as on a CPU")
    options = parser.parse_args()
    device = torch.device(options.device)
    apart = compared(device)
    result = Bench(device, SMALL if options.small or device.type == "cpu" else LARGE).run()
    result |= {f"from the CPU, {name}": value for name, value in apart.items()}
    print(json.dumps(result, indent=2) if options.json else table(result))
    if wrong := faults(apart):
        sys.exit(f"differs from the CPU: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
