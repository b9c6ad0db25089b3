"""Every way of multiplying against plain torch, and the compiled kernels against their exact definition."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from weights import magnitude, random_packed, rounded

from limelight.errors import RequestError
from limelight.quant import kernels, native
from limelight.quant.kernels import ExactMatrix, Int4Matrix, Matrix, NativeMatrix, PlainMatrix, WideMatrix
from limelight.quant.linear import LowBitEmbedding, LowBitLinear
from limelight.quant.packed import FORMATS, groups

compiled = pytest.mark.skipif(not native.KERNELS, reason="the compiled kernels are not built")

formats = st.sampled_from(sorted(FORMATS))
dtypes = st.sampled_from([torch.float32, torch.bfloat16])
seeds = st.integers(0, 2**31)
KERNELS = list(range(len(native.KERNELS)))
# A float32 sum over at most 100 groups loses at most 100 * 2^-24 of what it adds up; a bfloat16 result 2^-8 of itself.
SUM, ROUND = 1e-5, {torch.float32: 2**-23, torch.bfloat16: 2**-8}


@st.composite
def shapes(draw: st.DrawFn, format: str) -> tuple[int, int]:
    block = FORMATS[format].block
    return draw(st.integers(1, 70)), block * draw(st.integers(1, 512 // block + 1))


def inputs(generator: torch.Generator, count: int, columns: int, dtype: torch.dtype, arrangement: str) -> Tensor:
    """Rows of very different sizes, laid out in memory as asked."""
    x = torch.randn(count, columns, generator=generator) * torch.logspace(-3, 3, count).unsqueeze(1)
    x = x.to(dtype)
    if arrangement == "transposed":
        return x.t().contiguous().t()
    if arrangement == "strided":
        return torch.stack((x, x), dim=1)[:, 0]
    return x


@compiled
@settings(max_examples=120, deadline=None)
@given(data=st.data(), format=formats, dtype=dtypes, count=st.integers(1, 40), seed=seeds)
def test_each_kernel_computes_the_product_of_the_rounded_inputs(
    data: st.DataObject, format: str, dtype: torch.dtype, count: int, seed: int
) -> None:
    rows, columns = data.draw(shapes(format))
    packed = random_packed(format, rows, columns, seed)
    generator = torch.Generator().manual_seed(seed)
    x = inputs(generator, count, columns, dtype, data.draw(st.sampled_from(["contiguous", "transposed", "strided"])))
    bias = torch.randn(rows, generator=generator).to(dtype) if data.draw(st.booleans()) else None
    seen = rounded(x, format)
    exact = seen @ packed.dequantize(torch.float64).T
    size = seen.abs() @ magnitude(packed).T
    if bias is not None:
        exact, size = exact + bias, size + bias.abs()
    for kernel in KERNELS:
        y = NativeMatrix(packed, kernel)(x, bias)
        assert y.dtype == dtype
        assert y.shape == (count, rows)
        assert ((y - exact).abs() <= SUM * size + ROUND[dtype] * exact.abs()).all(), native.KERNELS[kernel]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), format=formats, count=st.integers(1, 300), seed=seeds)
def test_looking_multiplies_the_weights_as_they_are_by_inputs_as_they_are(
    data: st.DataObject, format: str, count: int, seed: int
) -> None:
    rows, columns = data.draw(shapes(format))
    generator = torch.Generator().manual_seed(seed)
    arrangement = data.draw(st.sampled_from(["contiguous", "transposed", "strided"]))
    x = inputs(generator, count, columns, torch.float32, arrangement)
    bias = torch.randn(rows, generator=generator) if data.draw(st.booleans()) else None
    for matrix in matrices(format, rows, columns, seed):
        packed = matrix.packed()
        expected = F.linear(x.double(), packed.dequantize(torch.float64), None if bias is None else bias.double())
        y = ExactMatrix(matrix)(x[None], bias)
        assert y.shape == (1, count, rows)
        # A weight is rounded twice, a product once; sums are of blocks of 64, and of those.
        lost = 2**-24 * (4 + 64 + columns / 64) * (x.double().abs() @ magnitude(packed).T)
        assert ((y[0] - expected).abs() <= lost + 2**-23 * expected.abs() + 1e-30).all(), matrix.path


@settings(max_examples=40, deadline=None)
@given(format=formats, dtype=dtypes, seed=seeds)
def test_rounding_the_inputs_loses_at_most_half_a_step_of_each_group(
    format: str, dtype: torch.dtype, seed: int
) -> None:
    x = inputs(torch.Generator().manual_seed(seed), 5, 256, dtype, "contiguous").to(torch.float64)
    group = native.LAYOUTS[format].group
    step = x.unflatten(-1, (-1, group)).abs().amax(-1, keepdim=True) / 127
    lost = (rounded(x, format) - x).unflatten(-1, (-1, group)).abs()
    assert (lost <= step * (0.5 + 1e-5)).all()


@compiled
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("format", ["Q4_1", "Q8_0"])
@pytest.mark.parametrize(("dtype", "exactly"), [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)])
def test_a_row_is_the_same_bits_alone_among_others_and_on_any_number_of_threads(
    kernel: int, format: str, dtype: torch.dtype, exactly: bool
) -> None:
    native_matrix = NativeMatrix(random_packed(format, 333, 288), kernel)
    matrix = ExactMatrix(native_matrix) if exactly else native_matrix
    x = torch.randn(301, 288, generator=torch.Generator().manual_seed(1)).to(dtype)
    together = matrix(x, None)
    alone = torch.cat([matrix(x[i : i + 1], None) for i in range(0, len(x), 10)])
    assert torch.equal(together[::10], alone)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(matrix(x, None), together)
    finally:
        torch.set_num_threads(threads)


@compiled
def test_calls_from_several_python_threads_do_not_disturb_each_other() -> None:
    matrix = NativeMatrix(random_packed("Q4_1", 400, 576))
    xs = [torch.randn(1 + i % 9, 576, generator=torch.Generator().manual_seed(i)) for i in range(40)]
    expected = [matrix(x, None) for x in xs]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda x: matrix(x, None), xs * 5))
    assert all(torch.equal(y, expected[i % len(xs)]) for i, y in enumerate(results))


@compiled
@pytest.mark.parametrize("kernel", KERNELS)
def test_values_that_are_not_numbers_stay_in_their_row(kernel: int) -> None:
    matrix = NativeMatrix(random_packed("Q4_1", 20, 64), kernel)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    clean = matrix(x, None)
    x[1, 40] = torch.nan
    y = matrix(x, None)
    assert y[1].isnan().all()
    assert torch.equal(y[[0, 2]], clean[[0, 2]])
    assert torch.equal(matrix(torch.zeros(2, 64), None), torch.zeros(2, 20))


@compiled
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_types_of_input_come_back_in_their_type(dtype: torch.dtype) -> None:
    matrix = NativeMatrix(random_packed("Q4_0", 20, 64))
    x = torch.randn(2, 3, 64, dtype=dtype, generator=torch.Generator().manual_seed(1))
    assert torch.equal(matrix(x, None), matrix(x.float(), None).to(dtype))
    assert matrix(x[:, :0], None).shape == (2, 0, 20)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), format=formats, seed=seeds)
def test_the_order_of_bytes_turns_back_into_the_same_blocks(data: st.DataObject, format: str, seed: int) -> None:
    rows, columns = data.draw(shapes(format))
    packed = random_packed(format, rows, columns, seed)
    repacked = native.repack(packed)
    for ours, theirs in zip(native.unpack(repacked, format, rows), groups(packed), strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    restored = native.restore(repacked, native.header(packed), format, (rows, columns))
    assert torch.equal(restored.data, packed.data)
    assert restored.shape == packed.shape


def test_repacked_weights_take_no_more_room_than_the_file() -> None:
    for format in ("Q4_0", "Q4_1", "Q8_0"):
        packed = random_packed(format, 64, 256)
        assert native.repack(packed).nbytes + native.header(packed).nbytes == packed.nbytes


def matrices(format: str, rows: int, columns: int, seed: int) -> list[Matrix]:
    packed = random_packed(format, rows, columns, seed)
    found: list[Matrix] = [PlainMatrix(packed), WideMatrix(packed)]
    if Int4Matrix.fits(packed):
        found.append(Int4Matrix(packed))
    return found + [NativeMatrix(packed, kernel) for kernel in KERNELS]


@settings(max_examples=25, deadline=None)
@given(data=st.data(), format=formats, dtype=dtypes, seed=seeds)
def test_looking_up_rows_is_exact_in_every_path(
    data: st.DataObject, format: str, dtype: torch.dtype, seed: int
) -> None:
    rows, columns = data.draw(shapes(format))
    index = torch.tensor(data.draw(st.lists(st.lists(st.integers(0, rows - 1), min_size=3, max_size=3), max_size=40)))
    index = index.reshape(-1, 3).to(torch.int64)
    for matrix in matrices(format, rows, columns, seed):
        expected = matrix.packed().dequantize()[index].to(dtype)
        found = LowBitEmbedding(matrix, dtype)(index)
        assert found.dtype == dtype
        assert torch.equal(found, expected), matrix.path


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("count", [1, 5, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_path_agrees_with_exact_weights_and_flows_gradients(format: str, count: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    for matrix in matrices(format, 48, 512, 5):
        weight = matrix.packed().dequantize()
        x = torch.randn(2, count, 512, generator=generator).to(dtype).requires_grad_()
        bias = nn.Parameter(torch.randn(48, generator=generator).to(dtype))
        layer = LowBitLinear(matrix, bias)
        y = layer(x)
        exact = F.linear(x.float(), weight, bias.float())
        # Rounding inputs or weights changes a term by a random 2^-7 of its size at most; 512 of them, 6 deviations.
        noise = 2**-7 * (magnitude(matrix.packed()).float().square().mean(-1) * 512).sqrt()
        assert y.dtype == dtype
        assert ((y - exact).abs() <= 6 * noise + 2**-7 * exact.abs()).all(), matrix.path
        upstream = torch.randn(y.shape, generator=generator).to(dtype)
        y.backward(upstream)
        assert x.grad is not None
        assert bias.grad is not None
        flowing = upstream.float() @ weight
        assert (x.grad - flowing).abs().max() <= 2**-6 * flowing.abs().max(), matrix.path
        assert torch.allclose(bias.grad.float(), upstream.float().sum((0, 1)), rtol=2**-6, atol=2**-6)


@compiled
def test_a_row_that_is_not_there_is_refused() -> None:
    embedding = LowBitEmbedding(random_packed("Q8_0", 20, 64))
    with pytest.raises(RequestError, match="not among the 20"):
        embedding(torch.tensor([3, 20]))
    with pytest.raises(RequestError, match="not among the 20"):
        embedding(torch.tensor([-1]))


def test_an_embedding_and_a_head_may_share_their_weights() -> None:
    embedding = LowBitEmbedding(random_packed("Q8_0", 33, 64))
    head = LowBitLinear(embedding.matrix)
    assert head.matrix is embedding.matrix
    assert (head.in_features, head.out_features) == (embedding.embedding_dim, embedding.num_embeddings) == (64, 33)


def test_changing_a_models_type_leaves_its_low_bit_weights_as_they_are() -> None:
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(1))
    for format in sorted(FORMATS):
        for matrix in matrices(format, 32, 512, 2):
            before = matrix(x, None)
            for changed in (matrix.to(torch.bfloat16), matrix.to(torch.float32)):
                assert torch.equal(changed(x, None), before), matrix.path


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operators_hold_what_torch_asks_of_them(dtype: torch.dtype) -> None:
    matrix = NativeMatrix(random_packed("Q4_1", 40, 64))
    x = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(1), dtype=dtype, requires_grad=True)
    bias = torch.randn(40, dtype=dtype, requires_grad=True)
    torch.library.opcheck(torch.ops.limelight.linear.default, (x, matrix.data, bias, "Q4_1", 40, 0))
    torch.library.opcheck(
        torch.ops.limelight.rows.default, (matrix.data, torch.tensor([[3, 1]]), "Q4_1", (40, 64), dtype)
    )


@compiled
def test_layers_compile_into_one_graph() -> None:
    embedding = LowBitEmbedding(random_packed("Q8_0", 50, 64))
    model = nn.Sequential(embedding, LowBitLinear(random_packed("Q4_1", 96, 64), nn.Parameter(torch.ones(96))))
    index = torch.tensor([[3, 1, 4], [1, 5, 9]])
    fast = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert torch.equal(fast(index), model(index))


def test_without_the_library_everything_works_and_says_why() -> None:
    script = """
import torch
from limelight.quant import kernels, native
from limelight.quant.linear import LowBitEmbedding, LowBitLinear
from weights import random_packed
assert native.KERNELS == ()
print(LowBitLinear(random_packed("Q4_1", 32, 64))(torch.ones(2, 64)).shape)
print(LowBitEmbedding(random_packed("Q8_0", 32, 64))(torch.tensor([1])).shape)
print(*(type(kernels.prepare(random_packed(f, 32, 256))).__name__ for f in ("Q4_1", "Q8_0")))
print(*kernels.describe())
"""
    environment = {**os.environ, "LIMELIGHT_NATIVE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    shapes, table, types, reason = done.stdout.splitlines()
    assert (shapes, table, types) == ("torch.Size([2, 32])", "torch.Size([1, 64])", "Int4Matrix WideMatrix")
    assert "LIMELIGHT_NATIVE" in reason or "compiler" in reason


@compiled
def test_the_best_kernels_are_used_and_named() -> None:
    matrix = kernels.prepare(random_packed("Q6_K", 16, 256))
    assert isinstance(matrix, NativeMatrix)
    assert kernels.prepare(matrix) is matrix
    assert native.KERNELS[0] in matrix.path
    assert native.KERNELS[0] in kernels.describe()[0]


@compiled
@pytest.mark.parametrize("name", native.KERNELS)
def test_lesser_kernels_can_be_asked_for(name: str) -> None:
    environment = {**os.environ, "LIMELIGHT_NATIVE": name, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = "from limelight.quant import native; print(*native.KERNELS, sep=',')"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip().split(",") == list(native.KERNELS[native.KERNELS.index(name) :])
