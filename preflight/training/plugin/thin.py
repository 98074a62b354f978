"""Kernels that add an adapter's thin product to something large while that is on its way through the GPU anyway.

A product of rank 16 takes as long as what it is added to takes to be read and written. Each function changes its first argument, and is
written twice: for a GPU in Triton, and in torch.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from typing import Any

import torch
import triton
from torch import Tensor, nn
from triton import language as tl

# of the tiles tried on an H100 (benchmarks/thin_products.py, 2026-11-27) the fastest for the three together
TILE: dict[str, Any] = {"rows": 16, "columns": 128, "num_warps": 4}


def add_dropped(total: Tensor, left: Tensor, right: Tensor, mask: Tensor, scale: float) -> Tensor:
    """`total` [m, n] + `left` [m, k] @ `right` [k, n] * `scale`, where `mask` is true."""
    if not total.is_cuda and not _interpreted():
        return total.addcmul_(left @ right, mask, value=scale)
    (m, n), k = total.shape, left.shape[1]
    _add_dropped[_grid(m, n)](total, left, right, mask, scale, m, n, k, left.stride(0), _power(k), **TILE)
    return total


def swiglu(gate: Tensor, up: Tensor, thin: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], scale: float) -> Tensor:
    """silu(gate) * up, both [m, n], when each has its `thin` [m, k] @ `b` [n, k].T * `scale` added."""
    if not gate.is_cuda and not _interpreted():
        for one, own, other in zip((gate, up), thin, b, strict=True):
            one.addmm_(own, other.t(), alpha=scale)
        return nn.functional.silu(gate) * up
    hidden = torch.empty_like(gate)
    (m, n), k = gate.shape, thin[0].shape[1]
    _swiglu[_grid(m, n)](gate, up, hidden, *thin, *b, scale, m, n, k, thin[0].stride(0), _power(k), **TILE)
    return hidden


def swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor, left: Tensor, right: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """silu(gate) * up, and the gradients of gate and up, for the gradient `grad` + `left` [m, k] @ `right` [k, n] * `scale`: in the memory of
    `grad`, `gate` and `up`."""
    if not grad.is_cuda and not _interpreted():
        grad.addmm_(left, right, alpha=scale)
        share = torch.sigmoid(gate)
        active = gate * share
        hidden, of_gate, of_up = active * up, grad * up * share * (1 + gate * (1 - share)), grad * active
        return grad.copy_(hidden), gate.copy_(of_gate), up.copy_(of_up)
    (m, n), k = grad.shape, left.shape[1]
    _swiglu_backward[_grid(m, n)](grad, gate, up, left, right, scale, m, n, k, left.stride(0), _power(k), **TILE)
    return grad, gate, up


def _interpreted() -> bool:
    """Whether Triton runs its kernels on the CPU, as in a test."""
    return bool(triton.knobs.runtime.interpret)


def _grid(m: int, n: int) -> tuple[int, int]:
    return triton.cdiv(m, TILE["rows"]), triton.cdiv(n, TILE["columns"])


def _power(k: int) -> int:
    """What the ranks are filled up to: a matrix unit takes 16 or more."""
    return max(16, int(triton.next_power_of_2(k)))


@triton.jit
def _place(m, n, rows: tl.constexpr, columns: tl.constexpr):
    """This program's rows and columns, where they lie in [m, n], and which of them there are."""
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = (row[:, None] < m) & (column[None, :] < n)
    return row, column, row[:, None].to(tl.int64) * n + column[None, :], inside


@triton.jit
def _product(left, right, row, column, m, n, k, stride, across, along, power: tl.constexpr):
    """Rows of `left` [m, k] times columns of `right`, whose ranks are `across` values apart, and whose columns `along`."""
    rank = tl.arange(0, power)
    one = tl.load(left + row[:, None].to(tl.int64) * stride + rank[None, :], mask=(row[:, None] < m) & (rank[None, :] < k), other=0.0)
    other = tl.load(right + rank[:, None] * across + column[None, :] * along, mask=(rank[:, None] < k) & (column[None, :] < n), other=0.0)
    return tl.dot(one, other)


@triton.jit
def _add_dropped(total, left, right, mask, scale, m, n, k, stride, power: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr):
    row, column, place, inside = _place(m, n, rows, columns)
    added = _product(left, right, row, column, m, n, k, stride, n, 1, power)
    kept = tl.load(mask + place, mask=inside, other=0).to(tl.float32)
    before = tl.load(total + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(total + place, before + added * kept * scale, mask=inside)


@triton.jit
def _swiglu(
    gate, up, hidden, thin_gate, thin_up, b_gate, b_up, scale, m, n, k, stride, power: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr
):
    row, column, place, inside = _place(m, n, rows, columns)
    kind = gate.dtype.element_ty
    added = _product(thin_gate, b_gate, row, column, m, n, k, stride, 1, k, power) * scale
    one = (tl.load(gate + place, mask=inside, other=0.0).to(tl.float32) + added).to(kind)
    tl.store(gate + place, one, mask=inside)
    added = _product(thin_up, b_up, row, column, m, n, k, stride, 1, k, power) * scale
    other = (tl.load(up + place, mask=inside, other=0.0).to(tl.float32) + added).to(kind)
    tl.store(up + place, other, mask=inside)
    whole = one.to(tl.float32)
    tl.store(hidden + place, (whole * tl.sigmoid(whole)).to(kind) * other, mask=inside)


@triton.jit
def _swiglu_backward(grad, gate, up, left, right, scale, m, n, k, stride, power: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr):
    row, column, place, inside = _place(m, n, rows, columns)
    kind = grad.dtype.element_ty
    added = _product(left, right, row, column, m, n, k, stride, n, 1, power) * scale
    given = (tl.load(grad + place, mask=inside, other=0.0).to(tl.float32) + added).to(kind)
    one = tl.load(gate + place, mask=inside, other=0.0).to(tl.float32)
    other = tl.load(up + place, mask=inside, other=0.0)
    share = tl.sigmoid(one)
    active = (share * one).to(kind)
    of_gate = (given * other).to(tl.float32) * share * (1.0 + one * (1.0 - share))
    tl.store(grad + place, active * other, mask=inside)
    tl.store(gate + place, of_gate.to(kind), mask=inside)
    tl.store(up + place, given * active, mask=inside)
