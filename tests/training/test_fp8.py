"""The arithmetic of `fp8_frozen_weights`, on the CPU: the same casts and the same products, multiplied in float32. On a GPU: benchmarks/."""

from types import SimpleNamespace

import bitsandbytes
import pytest
import torch
from axolotl.kernels import lora

from preflight.training.plugin import fp8
from preflight.training.plugin.fp8 import Weight8, cast_rows_once, unfit, use_fp8
from preflight.training.plugin.rows8 import LARGEST, cast_rows, multiply
from preflight.training.plugin.unpack8 import unpack


def back(cast, scales):
    return cast.float() * scales


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("shape", [(1, 16), (7, 48), (64, 4_096)])
def test_a_row_comes_back_to_a_sixteenth_whatever_its_size(shape, size):
    """e4m3 has 3 bits behind the point: half of 1/8 of each value, and of what is tiny beside its row's largest a 2^-10 of that over 448."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * size
    cast, scales = cast_rows(values.bfloat16())
    assert (cast.shape, cast.dtype, scales.shape, scales.dtype) == (shape, torch.float8_e4m3fn, (shape[0], 1), torch.float32)
    off = (back(cast, scales) - values.bfloat16().float()).abs()
    assert (off <= values.abs() / 15 + scales * 2**-10).all()
    assert cast.float().abs().amax(1).eq(LARGEST).all()


def test_zeros_and_what_is_not_finite():
    values = torch.zeros(4, 16, dtype=torch.bfloat16)
    values[1, 0], values[2, 0], values[3, 0] = 1.0, float("inf"), float("nan")
    found = back(*cast_rows(values))
    assert found[0].eq(0).all()
    assert found[1].tolist() == [1.0] + [0.0] * 15
    assert found[2, 0].isnan()
    assert found[3].isnan().any()


def test_a_row_that_is_large_takes_nothing_from_another():
    values = torch.ones(2, 32)
    values[0] *= 1e6
    assert back(*cast_rows(values))[1].tolist() == [1.0] * 32


@pytest.fixture
def weight():
    return torch.randn(48, 32, generator=torch.Generator().manual_seed(2)).bfloat16() * 0.02


@pytest.fixture
def packed():
    """A weight in 4 bits as Axolotl has bitsandbytes keep it: its absolute maxima in 8 bits too, its bytes in the guise of bf16."""
    weight = torch.randn(48, 128, generator=torch.Generator().manual_seed(3)) * 0.02
    return bitsandbytes.functional.quantize_4bit(weight.bfloat16(), compress_statistics=True, quant_type="nf4", quant_storage=torch.bfloat16)


@pytest.fixture
def held(weight):
    return Weight8.kept(lambda: weight)


def close(found, expected):
    return torch.cosine_similarity(found.float().flatten(), expected.float().flatten(), 0) > 0.999 and found.dtype == expected.dtype


def test_each_way_in_which_the_kernels_multiply(held, weight):
    """As axolotl/kernels/lora.py writes them, forward and backward."""
    x, gradient = torch.randn(2, 5, 32).bfloat16(), torch.randn(10, 48).bfloat16()
    assert close(torch.matmul(x, held.t(), out=None), x @ weight.t())
    assert close(torch.matmul(gradient, held), gradient @ weight)
    assert close(torch.matmul(gradient, held.t().t()), gradient @ weight)
    assert close(torch.mm(gradient, held), gradient @ weight)
    assert close(gradient @ held, gradient @ weight)
    before = torch.randn(10, 32).bfloat16()
    assert close(before.clone().addmm_(gradient, held), before + gradient @ weight)


def test_whatever_else_is_asked_it_is_the_weight_itself(held, weight):
    assert torch.equal(held.t().to(torch.float32), weight.t().float())
    assert torch.equal(torch.add(held, 1), weight + 1)
    into = torch.empty(10, 32)
    gradient = torch.randn(10, 48)
    assert torch.equal(torch.matmul(gradient, Weight8.kept(weight.float), out=into), gradient @ weight.float())
    assert held.shape == (48, 32)


def test_the_two_copies_are_scaled_along_what_is_not_summed_over(held):
    (forward, by_output), (backward, by_input) = held.forward(), held.backward()
    assert (forward.shape, by_output.shape, backward.shape, by_input.shape) == ((48, 32), (48, 1), (32, 48), (32, 1))


def test_the_four_bits_are_read_as_bitsandbytes_reads_them(packed):
    weight, state = packed
    assert torch.equal(unpack(weight, state).bfloat16(), bitsandbytes.functional.dequantize_4bit(weight, state))
    plain, single = torch.randn(32, 64), None
    single = bitsandbytes.functional.quantize_4bit(plain, compress_statistics=False, quant_type="fp4")
    assert torch.equal(unpack(*single), bitsandbytes.functional.dequantize_4bit(*single))


def test_from_four_bits_a_product_is_that_of_the_copies(packed):
    weight, state = packed
    plain = bitsandbytes.functional.dequantize_4bit(weight, state)
    made, kept = Weight8.packed(lambda: plain, weight, state), Weight8.kept(lambda: plain)
    for found, expected in ((made.forward(), kept.forward()), (made.backward(), kept.backward())):
        assert torch.equal(found[1], expected[1])
        off = (found[0].float() - expected[0].float()).abs()
        assert (off <= expected[0].float().abs() / 7 + 2**-9).all()  # a value beside a boundary goes to the neighbour: bf16 rounded it
        assert off.ne(0).float().mean() < 0.05
    x, gradient = torch.randn(5, 128).bfloat16(), torch.randn(5, 48).bfloat16()
    assert close(x @ made.t(), x @ plain.t())
    assert close(gradient @ made, gradient @ plain)


def test_what_several_weights_are_multiplied_with_is_cast_once():
    x = torch.randn(4, 16).bfloat16()
    first = cast_rows_once(x)
    assert cast_rows_once(x.view(4, 16)) is first
    x += 1
    assert cast_rows_once(x) is not first, "changed in place"
    assert torch.equal(cast_rows_once(x)[0].float(), cast_rows(x)[0].float())
    assert cast_rows_once(torch.randn(4, 16).bfloat16())[0].shape == (4, 16)


@pytest.mark.parametrize(
    ("shape", "dtype", "training", "cuda", "capability", "says"),
    [
        ((48, 32), torch.bfloat16, True, True, (9, 0), ""),
        ((48, 32), torch.bfloat16, True, True, (8, 9), ""),
        ((48, 32), torch.bfloat16, True, True, (8, 0), "on no GPU"),
        ((48, 32), torch.bfloat16, True, False, None, "on no GPU"),
        ((48, 32), torch.bfloat16, False, True, (9, 0), "evaluated"),
        ((48, 32), torch.float16, True, True, (9, 0), "bf16"),
        ((24, 48), torch.bfloat16, True, True, (9, 0), "(24, 48), is no multiple of 16"),
        ((48, 24), torch.bfloat16, True, True, (9, 0), "of 24, are no multiple of its blocks of 16"),
    ],
)
def test_where_it_steps_aside(monkeypatch, shape, dtype, training, cuda, capability, says):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    reason = unfit(SimpleNamespace(is_cuda=cuda, device="cuda"), SimpleNamespace(shape=shape, dtype=dtype, blocksize=16), training=training)
    assert says in reason
    assert bool(says) == bool(reason)


def test_the_kernels_get_the_8_bit_weight_once_and_the_log_says_a_reason_once(monkeypatch, caplog):
    plain = torch.randn(48, 32).bfloat16()
    unpacked = []

    def unpack(weight, state=None):
        unpacked.append(tuple(weight.shape))
        return plain.t() if weight.shape[0] == 1 else plain

    monkeypatch.setattr(lora, "dequantize", unpack)
    monkeypatch.setattr(fp8, "unfit", lambda weight, state, training: "" if state.fits else "too odd")
    model, packed = SimpleNamespace(training=True), torch.zeros(768, 1, dtype=torch.uint8)
    use_fp8(model, keep=True)
    state, odd = SimpleNamespace(fits=True), SimpleNamespace(fits=False)
    x = torch.randn(6, 32).bfloat16()
    assert close(x @ lora.dequantize(packed.t(), state), x @ plain.t())
    assert close(
        torch.randn(6, 48, generator=torch.Generator().manual_seed(0)).bfloat16() @ lora.dequantize(packed, state),
        torch.randn(6, 48, generator=torch.Generator().manual_seed(0)).bfloat16() @ plain,
    )
    assert unpacked == [(768, 1)], "made once"
    assert lora.dequantize(packed, odd) is plain
    assert lora.dequantize(packed, odd) is plain
    assert caplog.text.count("a weight stays in bf16: too odd") == 1
    assert multiply(cast_rows(x), cast_rows(plain), torch.bfloat16).shape == (6, 48)
