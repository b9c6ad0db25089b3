"""The attention of the compiled kernels against torch's."""

import math
from array import array

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limelight.nn.attention import explicit
from limelight.nn.mask import CausalMasks, FullMasks
from limelight.nn.scores import Scores
from limelight.quant import native
from limelight.quant.compiler import ATTENTION, NOWHERE, TURN, Step
from limelight.quant.program import Call, Memory, _memory

pytestmark = pytest.mark.skipif(not native.KERNELS, reason="the compiled kernels are not built")

KERNELS = range(len(native.KERNELS))


def attended(
    kernel: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor,
    causal: bool,
    scale: float,
    cap: float,
    window: int,
    added: Tensor | None,
) -> Tensor:
    """The attention step alone: q [B, H, T, D], k, v [B, K, S, D] → [B, H, T, D]. added: [H, 2 · reach] or None."""
    B, H, T, D = q.shape
    arena = torch.zeros(2 * q.numel() * 4, dtype=torch.uint8)
    arena[: q.numel() * 4].view(torch.float32).copy_(q.transpose(1, 2).flatten())
    step = Step(
        kind=ATTENTION, first=0, second=NOWHERE, third=NOWHERE, to=H * D * 4, codes=NOWHERE, own=1, layer=0,
        heads=H, kv_heads=k.shape[1], width=D, scale=scale, cap=cap, window=window,
        biased=-1 if added is None else 0,
    )  # fmt: skip
    own, kept = _memory([(k, v)], lengths)
    tables = array("q", [0])
    biases = array("q", [] if added is None else [added.data_ptr(), added.shape[1] // 2])
    places = tables.buffer_info()[0], biases.buffer_info()[0]
    turn = Step(kind=TURN, first=0, rotary=-1, heads=H, kv_heads=k.shape[1], width=D)  # leaves heads as they are
    native.run(
        kernel,
        (Step * 2)(turn, step),
        Call(0, arena.data_ptr(), 0, B, T, None, causal, own, Memory(), *places),
    )
    del kept
    return arena[q.numel() * 4 :].view(torch.float32).view(B, T, H, D).transpose(1, 2)


@settings(deadline=None, max_examples=60)
@given(
    kernel=st.sampled_from(KERNELS),
    rows=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (4, 2), (9, 3), (12, 1)]),
    width=st.sampled_from([16, 64, 80]),
    steps=st.sampled_from([1, 2, 5, 17, 70]),
    before=st.lists(st.sampled_from([0, 1, 63, 64, 200, 511, 1100]), min_size=3, max_size=3),
    causal=st.booleans(),
    cap=st.sampled_from([0.0, 3.0]),
    window=st.sampled_from([0, 1, 40, 600]),
    biased=st.booleans(),
    halves=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_attention_is_that_of_torch(
    kernel: int, rows: int, heads: tuple[int, int], width: int, steps: int, before: list[int], causal: bool, cap: float,
    window: int, biased: bool, halves: bool, threads: int, seed: int,
) -> None:  # fmt: skip
    B, (H, K), D = rows, heads, width
    kept = native.half(kernel) if halves else torch.float32
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(before[:B]) if causal else torch.tensor(before[:B]).clamp(min=1)
    if window and not causal:  # on both sides, of the positions that ask
        lengths = lengths.clamp(max=steps)
    room = int(lengths.max()) + steps if causal else steps if window else int(lengths.max())
    q = torch.randn(B, H, steps, D, generator=generator) * 2
    k, v = torch.randn(2, B, K, room, D, generator=generator).to(kept).unbind()
    if causal:
        mask = CausalMasks(lengths, steps, None, q.device).for_window(window or None)
    else:
        mask = FullMasks(lengths, room, None, q.device).for_window(window or None)
    scale = 1 / math.sqrt(D)
    added, bias = None, None
    if biased:
        added = torch.randn(H, 4096, generator=generator)
        queries = (lengths if causal else torch.zeros(B, dtype=torch.int64))[:, None] + torch.arange(steps)  # [B, T]
        offsets = torch.arange(room) - queries[..., None]  # [B, T, S]
        bias = added[:, offsets + 2048].transpose(0, 1).double()
    expected = explicit(q.double(), k.double(), v.double(), Scores(mask, scale, cap or None, bias))
    before_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = attended(kernel, q, k, v, lengths, causal, scale, cap, window, added)
    torch.set_num_threads(before_threads)
    if window and not causal:  # what padding sees is nobody's concern, but must be a number
        assert not found.isnan().any()
        padding = (torch.arange(steps) >= lengths[:, None])[:, None, :, None]
        found, expected = found.masked_fill(padding, 0), expected.masked_fill(padding, 0)
    if kept is torch.bfloat16:  # queries and weights are rounded to it, too
        assert (found - expected).abs().max() < 3e-2
        assert (found - expected).norm() < 4e-3 * expected.norm()
    else:
        torch.testing.assert_close(found, expected.float(), atol=2e-5, rtol=2e-5)
