"""What low-bit products cost: ``python -m benchmarks.perplexity TEXT [--tokens N] [--json]``.

Perplexity of the default model as it is served, and of the same file widened to float32, over the first N tokens of a
text (plain or gzip) in windows of 1,024.
"""

import argparse
import gzip
import json
import math
from pathlib import Path

import torch
from torch.nn import functional as F

import limelight
from benchmarks.decode import default_file
from benchmarks.report import machine
from limelight.models.api import Decoder

WINDOW = 1024


def losses(network: Decoder, tokens: torch.Tensor) -> torch.Tensor:
    """The loss of each predicted token in nats [n], window by window."""
    found = []
    with torch.inference_mode():
        for window in tokens.split(WINDOW):
            hidden = network.read(window[None])[0, :-1]
            for part, targets in zip(hidden.split(256), window[1:].split(256), strict=True):
                found.append(F.cross_entropy(network.logits(part), targets, reduction="none"))
    return torch.cat(found)


def measure(text: Path, count: int, path: str) -> dict[str, object]:
    """Both perplexities, their ratio, and the standard error of its logarithm over the tokens."""
    raw = text.read_bytes()
    if text.suffix == ".gz":
        raw = gzip.decompress(raw)
    means, each = [], []
    for dtype in (None, "float32"):
        model = limelight.open(path, dtype=dtype)
        assert isinstance(model, limelight.Model)
        tokens = torch.tensor(model.tokenizer.encode(raw.decode()[: count * 8]).ids[:count])
        each.append(losses(model.network, tokens))
        means.append(math.exp(float(each[-1].mean())))
    difference = each[0] - each[1]
    return {
        "tokens": len(difference),
        "perplexity_ours": means[0],
        "perplexity_reference": means[1],
        "ratio": means[0] / means[1],
        "standard_error": float(difference.std()) / len(difference) ** 0.5,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--model", help="another GGUF file than the default model's")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = measure(options.text, options.tokens, options.model or default_file())
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        ours, reference, ratio = (result[key] for key in ("perplexity_ours", "perplexity_reference", "ratio"))
        print(f"as served {ours:.3f}, float32 {reference:.3f}, ratio {ratio:.5f} ± {result['standard_error']:.5f}")


if __name__ == "__main__":
    main()
