"""The weights that training starts from."""

import torch
from torch import nn

from limelight.models.api import Encoder, Network, Seq2Seq
from limelight.nn.experts import Router
from limelight.nn.norm import Norm
from limelight.nn.positions import LearnedPositions
from limelight.nn.stack import Stack
from limelight.nn.unit import RecurrentUnit


@torch.no_grad()
def initialise(network: Network, generator: torch.Generator | None = None) -> None:
    """Draws every weight of a built model anew. W is the width, L the number of layers.

    ======================  ==========================  ==========================================================
    weights                 transformer of one stack    encoder–decoder, recurrent model
    ======================  ==========================  ==========================================================
    embeddings, head        N(0, 0.02)                  N(0, 1 / √W), so that scaled by √W they are of size one
    learned positions       N(0, 0.02)                  N(0, 0.02)
    attention's q, k, v     N(0, 0.02)                  Xavier uniform, gain 1 / √2: three halves of one projection
    attention's out, down   N(0, 0.02 / √(2 L))         Xavier uniform
    other projections       N(0, 0.02)                  Xavier uniform
    cells, from the input   –                           Xavier uniform, gate by gate
    cells, from the state   –                           orthogonal, gate by gate
    units' convolutions     U(±1 / √size)               –
    units' steps, rates     see `limelight.nn.mamba`    –
    norms                   one                         one
    biases                  zero                        zero; an LSTM's forget gate one
    ======================  ==========================  ==========================================================

    The left column is GPT-2's (Radford et al., 2019, section 2.3), as nanoGPT has it. The right is tensor2tensor's
    and fairseq's for the Transformer; for cells, Saxe et al. (2014) and Jozefowicz et al. (2015).
    """
    stack = network.encoder if isinstance(network, Encoder) else network.decoder
    language = not isinstance(network, Seq2Seq) and isinstance(stack, Stack)
    residual = 0.02 * (2 * len(stack.blocks)) ** -0.5
    for name, module in network.named_modules():
        match module:
            case nn.Embedding():
                module.weight.normal_(0, 0.02 if language else module.embedding_dim**-0.5, generator=generator)
            case LearnedPositions():
                module.weight.normal_(0, 0.02, generator=generator)
            case nn.Linear():
                if module.bias is not None:
                    module.bias.zero_()
                if name.startswith("head."):
                    if not network.config.tied:
                        spread = 0.02 if language else module.in_features**-0.5
                        module.weight.normal_(0, spread, generator=generator)
                elif language:
                    ends = name.endswith((".out", ".down"))
                    module.weight.normal_(0, residual if ends else 0.02, generator=generator)
                else:
                    gain = 0.5**0.5 if name.endswith((".attention.q", ".attention.k", ".attention.v")) else 1.0
                    nn.init.xavier_uniform_(module.weight, gain, generator)
            case nn.RNNBase():
                _cells(module, generator)
            case nn.Conv1d():  # of a unit, each channel by itself
                module.weight.uniform_(
                    -(module.kernel_size[0] ** -0.5), module.kernel_size[0] ** -0.5, generator=generator
                )
                if module.bias is not None:
                    module.bias.zero_()
            case Router() | RecurrentUnit():
                module.reset_parameters(generator)
            case Norm():
                module.reset_parameters()


def _cells(cells: nn.RNNBase, generator: torch.Generator | None) -> None:
    width = cells.hidden_size
    for name, weight in cells.named_parameters():
        if name.startswith("bias"):
            weight.zero_()
            if cells.mode == "LSTM" and name.startswith("bias_ih"):
                weight[width : 2 * width] = 1
            continue
        for gate in torch.split(weight, width):
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(gate, generator=generator)
            else:
                nn.init.orthogonal_(gate, generator=generator)
