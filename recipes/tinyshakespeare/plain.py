"""The plain way, to compare with: a small GPT and a training loop in torch alone, with nanoGPT's settings for a CPU.

    python recipes/tinyshakespeare/plain.py ../shared/data/tinyshakespeare/input.txt.gz

4 layers, 4 heads, width 128, context 64, 2,000 steps of 12 windows, AdamW at 1e-3 with cosine decay to a tenth. The
loss is measured over the whole of the last tenth of the text, in windows side by side.
"""

import gzip
import math
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
STEPS, WARMUP, RATE, EVERY = 2000, 100, 1e-3, 250


class Block(nn.Module):
    """Attention and feed-forward, norms in front, no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] → [B, T, W]."""
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.first(x)).chunk(3, -1))
        heard = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(heard.transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(F.gelu(self.up(self.second(x))))
        return out


class GPT(nn.Module):
    """Characters in, logits out; the head is the embedding."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                ends = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, 0, 0.02 / math.sqrt(2 * LAYERS) if ends else 0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of [B, T] targets."""
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        logits = self.norm(self.blocks(x)) @ self.tokens.weight.T
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def rate(step: int) -> float:
    """Warm-up, then cosine to a tenth."""
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    wave = 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
    return RATE * (0.1 + 0.9 * wave)


@torch.no_grad()
def measured(model: GPT, text: Tensor) -> float:
    """The loss over a whole text."""
    count = (len(text) - 1) // CONTEXT
    tokens = text[: count * CONTEXT].view(count, CONTEXT)
    targets = text[1 : count * CONTEXT + 1].view(count, CONTEXT)
    pairs = zip(tokens.split(256), targets.split(256), strict=True)
    return sum(float(model(t, wanted)) * len(t) for t, wanted in pairs) / count


def main(path: str) -> None:
    """Trains, and prints time and loss as it goes."""
    torch.manual_seed(1337)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    ids = {character: i for i, character in enumerate(sorted(set(text)))}
    data = torch.tensor([ids[character] for character in text])
    training, validation = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]
    model = GPT(len(ids))
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))
    began = time.perf_counter()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        starts = torch.randint(len(training) - CONTEXT, (BATCH, 1))
        window = training[starts + torch.arange(CONTEXT + 1)]
        loss = model(window[:, :-1], window[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % EVERY == 0:
            seconds = time.perf_counter() - began
            print(f"step {step + 1}  {seconds:.1f} s  loss {measured(model, validation):.4f}", flush=True)
            began = time.perf_counter() - seconds  # measuring is not training


if __name__ == "__main__":
    main(sys.argv[1])
