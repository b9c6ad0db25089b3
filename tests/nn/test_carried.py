"""What recurrent layers carry from word to word, row by row."""

import pytest
import torch

from limelight.errors import RequestError
from limelight.nn.recurrent import Carried, RecurrentEncoder, RecurrentLayer, hides_nothing
from limelight.nn.unit import CausalConv, heads, real


def test_rows_of_what_is_carried() -> None:
    carried = Carried((torch.tensor([[1.0], [2], [3]]), torch.tensor([[4.0, 5], [6, 7], [8, 9]])))
    assert carried.nbytes == 9 * 4
    assert [t.tolist() for t in carried.select(torch.tensor([2, 0, 2])).tensors] == [
        [[3], [1], [3]],
        [[8, 9], [4, 5], [8, 9]],
    ]
    assert [t.tolist() for t in carried.narrow(1, 3).tensors] == [[[2], [3]], [[6, 7], [8, 9]]]
    carried.put(1, Carried((torch.tensor([[-1.0]]), torch.tensor([[-2.0, -3]]))), 7)
    assert [t.tolist() for t in carried.tensors] == [[[1], [-1], [3]], [[4, 5], [-2, -3], [8, 9]]]


def test_no_word_can_be_hidden_from_a_recurrent_model() -> None:
    hides_nothing(None)
    with pytest.raises(RequestError) as refused:
        hides_nothing(torch.ones(1, 2))
    assert str(refused.value) == (
        "a recurrent model reads all words into one state and none can be hidden from it; leave words out instead"
    )


@pytest.mark.parametrize(("cell", "carries"), [("rnn", 1), ("gru", 1), ("lstm", 2)])
@torch.inference_mode()
def test_an_encoder_ends_in_the_last_real_word_of_each_row(cell: str, carries: int) -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 4, 4, both=True)  # type: ignore[arg-type]
    assert (layer.carries, layer.cell.hidden_size, layer.cell.bidirectional) == (carries, 2, True)
    encoder = RecurrentEncoder([layer], False, 2.0, torch.nn.Identity())
    assert encoder.dtype == torch.float32
    x, lengths = torch.randn(2, 5, 4), torch.tensor([5, 3])
    memory = encoder.encode(x, lengths, None)
    for row, length in enumerate(lengths.tolist()):
        alone, after = layer.cell(2 * x[row, :length])
        torch.testing.assert_close(memory.hidden[row, :length], alone)
        for found, expected in zip(memory.final, after if carries == 2 else (after,), strict=True):
            torch.testing.assert_close(found[row, 0], expected.flatten())
    assert memory.lengths.tolist() == [5, 3]


def test_zeros_stand_behind_the_real_positions() -> None:
    x = torch.arange(1.0, 13).view(2, 3, 2)
    assert real(x, None) is x
    assert real(x, torch.tensor([3, 1])).tolist() == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [0, 0], [0, 0]]]
    assert real(x[..., 0], torch.tensor([0, 2])).tolist() == [[0, 0, 0], [7, 9, 0]]
    assert heads(x, 2).shape == (2, 3, 2, 1)


@torch.no_grad()
def test_a_convolution_without_bias_carries_the_last_real_values() -> None:
    conv = CausalConv(1, 3, bias=False)
    conv.weight.copy_(torch.tensor([[[100.0, 10, 1]]]))
    x, before = torch.tensor([[[1.0], [2], [3]]]), torch.tensor([[[8.0], [9]]])
    out, after = conv.read(x, before, None)
    assert (out.flatten().tolist(), after.flatten().tolist()) == ([891, 912, 123], [2, 3])
    assert conv.read(x, before, torch.tensor([1]))[1].flatten().tolist() == [9, 1]
    assert conv.read(x, before, torch.tensor([0]))[1].flatten().tolist() == [8, 9]
