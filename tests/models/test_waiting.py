"""Nothing in a step waits for the device.

Whatever a program asks of a number on an accelerator (`int(tensor)`, `nonzero`, an index of bools) makes it wait until
all that was asked before is done. On the meta device, which has no numbers, the same is an error, on every machine.
"""

import pytest
import torch

from limelight.models import transformer2017
from limelight.models.api import Decoder, Encoder, Seq2Seq
from limelight.models.build import build
from limelight.models.registry import config_from_hf
from limelight.train.batches import IGNORE, Batch
from limelight.train.loss import Objective
from tests.references import CONFIGS, FOLLOWING

FAMILIES = ("gpt2", "llama", "mistral", "gemma3_text", "bloom", *FOLLOWING)
"""Learned and rotary positions, windows, biases of scores, rotations that follow the text. Not those with experts, who
must know which tokens are theirs, nor recurrent ones, whose number types the meta device does not know."""


def on_meta(name: str) -> Decoder:
    config = CONFIGS[name]
    network = build(config_from_hf(config.to_dict() | {"model_type": config.model_type})).eval().to("meta")
    assert isinstance(network, Decoder)
    return network


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_a_step_asks_the_device_for_no_number(name: str) -> None:
    network = on_meta(name)
    state = network.start(3, 40)
    tokens = torch.zeros(3, 9, dtype=torch.int64, device="meta")
    network.step(tokens, state, torch.tensor([9, 4, 7]), last=True)  # from here on rows are of different lengths
    for length in (1, 1, 5):
        logits = network.step(tokens[:, :length], state, last=True)
    assert logits.device.type == "meta"
    assert state.lengths.tolist() == [16, 11, 14]


def test_a_training_step_asks_the_device_for_no_number() -> None:
    seq2seq = transformer2017.transformer2017(
        vocab=99, source_vocab=None, context=64, layers=2, width=64, heads=4, hidden=96, dropout=0.1
    )
    tokens = torch.ones(4, 12, dtype=torch.int64)
    targets = torch.where(torch.arange(12) < torch.tensor([[12], [5], [9], [2]]), tokens, IGNORE)
    batch = Batch(tokens, targets, tokens, torch.tensor([12, 6, 9, 3])).to(torch.device("meta"))
    for network in (build(seq2seq), on_meta("llama"), on_meta("gpt2")):
        assert not isinstance(network, Encoder)
        objective = Objective(network.train().to("meta"), smoothing=0.1)
        losses = objective(
            batch if isinstance(network, Seq2Seq) else Batch(batch.tokens, batch.targets, places=batch.places)
        )
        losses[0].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        assert all(p.grad is not None for p in network.parameters())
