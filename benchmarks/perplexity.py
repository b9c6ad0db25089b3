"""What low-bit products cost: ``python -m benchmarks.perplexity [TEXT] [--tokens N] [--peer] [--json]``.

The default model as it is served beside the same file widened to float32: perplexity over the first N tokens of a text
(plain or gzip) in windows, how far apart their distributions are, and whether both write the same, always taking the
likeliest token. --peer: llama.cpp over the same tokens, too.
"""

import argparse
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

import limelight
from benchmarks.engines import THREADS, default_file
from benchmarks.report import described, machine
from limelight.decode import collect, generate

WINDOW = 1024
BEGINNINGS = (
    "The cat sat on the mat because it was tired, and",
    "In 1905 Albert Einstein published four papers.",
    "def fibonacci(n):",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
)
WRITTEN = 64  # tokens behind each beginning


class Scored:
    """What one engine makes of a text: the loss of each predicted token in nats, and how far its distribution is from
    the reference's, in nats a token (Kullback–Leibler)."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.apart: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor, reference: torch.Tensor, targets: torch.Tensor) -> None:
        """logits, reference: [n, V], those in front of the targets [n]."""
        self.losses.append(F.cross_entropy(logits, targets, reduction="none"))
        for own, exact in zip(logits.split(64), reference.split(64), strict=True):
            divergence = F.kl_div(own.log_softmax(-1), exact.log_softmax(-1), reduction="none", log_target=True)
            self.apart.append(divergence.sum(-1))

    @property
    def perplexity(self) -> float:
        return math.exp(float(torch.cat(self.losses).mean()))

    @property
    def divergence(self) -> float:
        return float(torch.cat(self.apart).mean())


def _peer(path: str, longest: int) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Logits [n, V] of tokens [n] by llama.cpp, if it is there."""
    try:
        import llama_cpp
    except ImportError:
        return None
    peer = llama_cpp.Llama(path, n_ctx=longest, n_batch=longest, n_threads=THREADS, logits_all=True, verbose=False)

    def logits(window: torch.Tensor) -> torch.Tensor:
        peer.reset()
        peer.eval(window.tolist())
        return torch.from_numpy(peer.scores[: len(window)])

    return logits


@torch.inference_mode()
def perplexities(
    ours: limelight.Model, reference: limelight.Model, text: Path, count: int, length: int, peer: bool
) -> dict[str, float]:
    """Both perplexities, their ratio, the standard error of its logarithm over the tokens, and the divergence; the
    peer's, if asked and it is there."""
    raw = text.read_bytes()
    if text.suffix == ".gz":
        raw = gzip.decompress(raw)
    tokens = torch.tensor(ours.tokenizer.encode(raw.decode()[: count * 8]).ids[:count])
    front = torch.tensor(ours.tokenizer.prefix, dtype=torch.int64)
    windows = [torch.cat((front, window)) for window in tokens.split(length)]
    theirs = _peer(str(ours.path), max(map(len, windows))) if peer else None
    own, exact, other = Scored(), Scored(), Scored()
    for window in windows:
        right = reference.network(window[None])[0, :-1]
        exact.losses.append(F.cross_entropy(right, window[1:], reduction="none"))
        own.add(ours.network(window[None])[0, :-1], right, window[1:])
        if theirs is not None:
            other.add(theirs(window)[:-1], right, window[1:])
    difference = torch.cat(own.losses) - torch.cat(exact.losses)
    found = {
        "perplexity_tokens": len(tokens),
        "perplexity_ours": own.perplexity,
        "perplexity_reference": exact.perplexity,
        "perplexity_ratio": math.exp(float(difference.mean())),
        "perplexity_standard_error": float(difference.std()) / len(difference) ** 0.5,
        "divergence_ours": own.divergence,
    }
    if theirs is not None:
        found |= {"perplexity_llama_cpp": other.perplexity, "divergence_llama_cpp": other.divergence}
    return found


@torch.inference_mode()
def greedy(ours: limelight.Model, reference: limelight.Model) -> dict[str, float]:
    """Ours writes behind `BEGINNINGS`, and the reference reads what was written.

    greedy_equal: how many of the tokens the reference finds likeliest too. greedy_widest_gap: by how much, in logits,
    it prefers another where it does not. logit_rounding: the typical difference between the logits of both.
    """
    given = [ours.tokenizer.encode(text).ids for text in BEGINNINGS]
    written = collect(generate(ours.network, given, max_tokens=WRITTEN))
    equal, widest, rounding = 0, 0.0, []
    for prompt, made in zip(given, written, strict=True):
        ids = [token.id for token in made.tokens]
        read = torch.tensor([[*prompt, *ids[:-1]]])
        own, exact = (model.network(read)[0, len(prompt) - 1 :] for model in (ours, reference))
        gaps = exact.amax(-1) - exact.gather(1, torch.tensor(ids)[:, None])[:, 0]
        equal += int((gaps == 0).sum())
        widest = max(widest, float(gaps.max()))
        rounding.append((own - exact).std(-1))
    return {
        "greedy_tokens": WRITTEN * len(given),
        "greedy_equal": equal,
        "greedy_widest_gap": widest,
        "logit_rounding": float(torch.cat(rounding).mean()),
    }


def measure(text: Path | None, count: int, path: str, length: int = WINDOW, peer: bool = False) -> dict[str, Any]:
    """Both comparisons; without a text the second alone."""
    ours, reference = limelight.open(path), limelight.open(path, dtype="float32")
    assert isinstance(ours, limelight.Model)
    assert isinstance(reference, limelight.Model)
    found = {} if text is None else perplexities(ours, reference, text, count, length, peer)
    return {**found, **greedy(ours, reference), "machine": machine()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path, nargs="?", help="without it writing alone is compared")
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=WINDOW, help="tokens that are read at once")
    parser.add_argument("--model", help="another model than the default one, of a GGUF file")
    parser.add_argument("--peer", action="store_true", help="llama.cpp on the same file, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = measure(options.text, options.tokens, options.model or default_file(), options.window, options.peer)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print("\n".join(f"{name}: {value:.5g}" for name, value in result.items() if name != "machine"))
        print(described(result["machine"]))


if __name__ == "__main__":
    main()
