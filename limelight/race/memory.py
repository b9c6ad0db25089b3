"""Step by step: what a model still holds of each thing that it was told."""

import torch

from limelight.models.api import Decoder
from limelight.race.problems import TESTED, Recall

TOLD = 6
"""Facts in a row, one a step."""


def held(network: Decoder, problem: Recall) -> list[list[float]]:
    """After each of TOLD facts, the share right when each fact so far is asked for: [after][fact], 0 above."""
    generator = torch.Generator().manual_seed(6)
    batch = problem.examples(TESTED, TOLD, 0, generator)
    facts = batch.tokens[:, :TOLD]
    asked = 1 + problem.KEYS * problem.VALUES + (facts - 1) // problem.VALUES  # the key of each
    table = [[0.0] * TOLD for _ in range(TOLD)]
    with torch.inference_mode():
        for after in range(TOLD):
            for fact in range(after + 1):
                said = network(torch.cat((facts[:, : after + 1], asked[:, fact : fact + 1]), 1))[:, -1].argmax(-1)
                table[after][fact] = float((said == facts[:, fact]).float().mean())
    return table
