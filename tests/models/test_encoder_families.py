"""What every family of encoders gets by being listed in tests/references.py."""

from pathlib import Path

import pytest
import torch
import transformers
from references import ENCODERS, saved
from torch import Tensor

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.save import export, save_checkpoint
from limelight.look.record import record
from limelight.models.api import Encoder
from limelight.models.config import Disentangled, MaskedLMHead, Pooling
from limelight.models.registry import config_from_hf, config_to_hf
from limelight.nn.stack import in_turn
from limelight.quant import native
from limelight.quant.linear import quantise
from limelight.quant.program import fuse

TOKENS = torch.randint(3, 99, (3, 20), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([20, 7, 1])
TYPES = torch.randint(0, 2, (3, 20), generator=torch.Generator().manual_seed(2))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Pair:
    """A family's reference and ours, opened from the folder that the reference wrote."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.theirs = saved(name, folder)
        self.opened = open_checkpoint(folder)
        network = self.opened.network
        assert isinstance(network, Encoder)
        self.ours = network
        types = network.config.transformer.embeddings.types
        self.types = TYPES % (types or 1)

    def expected(self) -> Tensor:
        """What the reference's head answers to TOKENS; the states where it has none."""
        mask = (torch.arange(TOKENS.shape[1]) < LENGTHS[:, None]).long()
        types = {"token_type_ids": self.types} if self.types.any() else {}
        with torch.inference_mode():
            found = self.theirs(TOKENS, attention_mask=mask, **types)
        if hasattr(found, "start_logits"):
            return torch.stack((found.start_logits, found.end_logits), -1)
        if not hasattr(found, "logits"):
            return found.last_hidden_state
        one = isinstance(found, transformers.models.electra.modeling_electra.ElectraForPreTrainingOutput)
        return found.logits[..., None] if one else found.logits

    def answer(self, tokens: Tensor, lengths: Tensor, types: Tensor) -> Tensor:
        with torch.inference_mode():
            if isinstance(self.ours.config.head, Pooling):
                return self.ours.read(tokens, lengths, types=types)
            return self.ours(tokens, lengths, types=types)


@pytest.fixture(scope="module", params=list(ENCODERS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp(request.param))


def test_answers_match_where_rows_are_padded(pair: Pair) -> None:
    expected, found = pair.expected(), pair.answer(TOKENS, LENGTHS, pair.types)
    assert expected.std() > 0.1
    if expected.dim() == 2:
        torch.testing.assert_close(found, expected, **CLOSE)
        return
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(found[row, :length], expected[row, :length], **CLOSE)


def test_a_row_gives_alone_what_it_gives_in_a_batch(pair: Pair) -> None:
    together = pair.answer(TOKENS, LENGTHS, pair.types)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = pair.answer(TOKENS[row : row + 1, :length], torch.tensor([length]), pair.types[row : row + 1, :length])
        beside = together[row, :length] if together.dim() == 3 else together[row]
        torch.testing.assert_close(beside, alone[0], **CLOSE)


def test_attention_and_hidden_states_match_in_every_layer(pair: Pair) -> None:
    layers = range(len(pair.ours.encoder.blocks))
    recording = record(pair.ours, attention=layers, hidden=layers)
    with torch.inference_mode():
        expected = pair.theirs(TOKENS, output_attentions=True, output_hidden_states=True)
        recording.network.read(TOKENS)
    for layer in layers:
        torch.testing.assert_close(recording.attention[layer], expected.attentions[layer], **CLOSE)
        stream = expected.hidden_states[layer + 1]
        size = max(1.0, float(stream.std()))  # no norm keeps it small where norms stand before the parts
        found = recording.hidden[layer]
        if layer == layers[-1]:
            found = pair.ours.encoder.norm(found)  # behind which the reference shows it
        torch.testing.assert_close(found, stream, rtol=1e-5, atol=1e-5 * size)


def test_config_goes_both_ways(pair: Pair) -> None:
    config = pair.ours.config
    assert config_from_hf(config_to_hf(config)) == config
    again, before = type(pair.theirs.config)(**config_to_hf(config)).to_dict(), pair.theirs.config.to_dict()
    free = {"architectures", "dtype", "_attn_implementation"}
    assert {k: v for k, v in again.items() if k not in free} == {k: v for k, v in before.items() if k not in free}


def test_weights_go_both_ways_bit_for_bit(pair: Pair) -> None:
    file, weights = open_tensors(pair.folder), export(pair.ours)
    unused = {name for name in file.names() if "pooler" in name and name not in weights}
    if isinstance(head := pair.ours.config.head, MaskedLMHead) and not head.tied:
        unused |= {name for name in file.names() if name.endswith(".bias") and f"{name[:-4]}decoder.bias" in weights}
    assert set(weights) == set(file.names()) - unused
    for name, weight in weights.items():
        assert torch.equal(weight, file.read(name)), name


def test_transformers_opens_what_we_save(pair: Pair, tmp_path: Path) -> None:
    save_checkpoint(pair.ours, pair.opened.tokenizer, tmp_path / "saved")
    kind = getattr(transformers, config_to_hf(pair.ours.config)["architectures"][0])
    theirs = kind.from_pretrained(tmp_path / "saved", attn_implementation="eager").eval()
    before, pair.theirs = pair.theirs, theirs
    try:
        again = pair.expected()
    finally:
        pair.theirs = before
    torch.testing.assert_close(again, pair.expected(), rtol=0, atol=0)


@pytest.mark.skipif(not native.KERNELS, reason="the compiled kernels are not built")
def test_the_compiled_program_reads_what_the_blocks_read(pair: Pair) -> None:
    network = quantise(open_checkpoint(pair.folder).network)
    network.encoder.run = in_turn
    texts = [TOKENS, *torch.randint(3, 99, (3, *TOKENS.shape), generator=torch.Generator().manual_seed(4))]
    with torch.inference_mode():
        plain = [network.read(tokens, LENGTHS, types=pair.types) for tokens in texts]
        fuse(network)
        network.encoder.cache_dtype = None
        fused = [network.read(tokens, LENGTHS, types=pair.types) for tokens in texts]
    made = network.encoder.run._made[1]
    if any(isinstance(block.attention.score_bias, Disentangled) for block in network.config.transformer.blocks):
        assert made is None  # the kernels do not know it, and the blocks run in turn
        return
    assert made is not None
    for row, length in enumerate(LENGTHS.tolist()):
        pairs = [(x[row, :length], y[row, :length]) for x, y in zip(fused, plain, strict=True)]
        off = [(x - y).abs() / y.abs().mean() for x, y in pairs]
        # Equal but for the order of sums, which may carry a number over the edge between two codes: not in every text.
        assert min(float(each.median()) for each in off) < 2e-5
        assert max(float(each.mean()) for each in off) < 2e-2


def test_opened_in_8_bits_it_is_what_rounding_makes_of_it(pair: Pair) -> None:
    network, rounded = (
        open_checkpoint(pair.folder, dtype="q8_0").network,
        quantise(open_checkpoint(pair.folder).network),
    )
    for each in (network, rounded):
        each.encoder.run = in_turn
    with torch.inference_mode():
        found, expected = (each(TOKENS, LENGTHS, types=pair.types) for each in (network, rounded))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_gradients_reach_every_weight(pair: Pair) -> None:
    network = open_checkpoint(pair.folder).network.requires_grad_(True)
    network(TOKENS, LENGTHS, types=pair.types).square().sum().backward()
    positions = "encoder.embeddings.positions.weight"
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name == positions, name


def test_what_limelight_opens_says_what_it_is(pair: Pair) -> None:
    kinds = {"Pooling": "Embedder", "MaskedLMHead": "MaskedModel", "SequenceClassifier": "Classifier"}
    kinds |= {"TokenClassifier": "Tagger", "SpanHead": "SpanModel"}
    opened = limelight.open(pair.folder)
    assert type(opened).__name__ == kinds.get(type(pair.ours.config.head).__name__, "EncoderModel")
