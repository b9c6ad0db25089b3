"""What low-bit products cost: ``python -m benchmarks.perplexity [TEXT] [--tokens N] [--peer] [--json]``.

The default model as it is served beside the same file widened to float32: perplexity over the first N tokens of a text
(plain or gzip) in windows, and whether both write the same, always taking the likeliest token. --peer: llama.cpp's
perplexity over the same tokens, too.
"""

import argparse
import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

import limelight
from benchmarks.engines import THREADS, default_file
from benchmarks.report import described, machine
from limelight.decode import collect, generate
from limelight.models.api import Decoder

WINDOW = 1024
BEGINNINGS = (
    "The cat sat on the mat because it was tired, and",
    "In 1905 Albert Einstein published four papers.",
    "def fibonacci(n):",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
)
WRITTEN = 64  # tokens behind each beginning


@torch.inference_mode()
def losses(network: Decoder, windows: Sequence[torch.Tensor]) -> torch.Tensor:
    """The loss of each predicted token in nats [n], window by window."""
    found = []
    for window in windows:
        hidden = network.read(window[None])[0, :-1]
        for part, targets in zip(hidden.split(256), window[1:].split(256), strict=True):
            found.append(F.cross_entropy(network.logits(part), targets, reduction="none"))
    return torch.cat(found)


def peer_losses(path: str, windows: Sequence[torch.Tensor]) -> torch.Tensor:
    """The same by llama.cpp."""
    import llama_cpp

    longest = max(map(len, windows))
    peer = llama_cpp.Llama(path, n_ctx=longest, n_batch=longest, n_threads=THREADS, logits_all=True, verbose=False)
    found = []
    for window in windows:
        peer.reset()
        peer.eval(window.tolist())
        logits = torch.from_numpy(peer.scores[: len(window) - 1])
        found.append(F.cross_entropy(logits, window[1:], reduction="none"))
    return torch.cat(found)


def perplexities(
    ours: limelight.Model, reference: limelight.Model, text: Path, count: int, length: int, peer: bool
) -> dict[str, float]:
    """Both perplexities, their ratio, and the standard error of its logarithm over the tokens; the peer's, if asked."""
    raw = text.read_bytes()
    if text.suffix == ".gz":
        raw = gzip.decompress(raw)
    tokens = torch.tensor(ours.tokenizer.encode(raw.decode()[: count * 8]).ids[:count])
    front = torch.tensor(ours.tokenizer.prefix, dtype=torch.int64)
    windows = [torch.cat((front, window)) for window in tokens.split(length)]
    own, exact = (losses(model.network, windows) for model in (ours, reference))
    difference = own - exact
    beside = {"perplexity_llama_cpp": math.exp(float(peer_losses(str(ours.path), windows).mean()))} if peer else {}
    return {
        **beside,
        "perplexity_tokens": len(tokens),
        "perplexity_ours": math.exp(float(own.mean())),
        "perplexity_reference": math.exp(float(exact.mean())),
        "perplexity_ratio": math.exp(float(difference.mean())),
        "perplexity_standard_error": float(difference.std()) / len(difference) ** 0.5,
    }


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
