"""Rows cast to e4m3, each by a scale of its own, and their products."""

import torch
from torch import Tensor

LARGEST = 448.0  # of e4m3
Rows8 = tuple[Tensor, Tensor]  # e4m3 of [rows, columns], float32 scales of [rows, 1]
SMALLEST = 2.0**-40  # what a row of zeros is divided by, times LARGEST

if torch.cuda.is_available():
    import triton
    from triton import language as tl


def cast_rows(values: Tensor) -> Rows8:
    """(e4m3 of [rows, columns], float32 scales of [rows, 1]), whose product is about `values`: each row's largest value becomes LARGEST. A row
    with a value that is not finite has NaN for it."""
    if not values.is_cuda:
        scales = values.abs().amax(1, keepdim=True).float().clamp(min=SMALLEST) / LARGEST
        return (values.float() / scales).to(torch.float8_e4m3fn), scales
    rows, columns = values.shape
    cast = torch.empty(rows, columns, device=values.device, dtype=torch.float8_e4m3fn)
    scales = torch.empty(rows, 1, device=values.device, dtype=torch.float32)
    block = triton.next_power_of_2(columns)
    _cast[(rows,)](values, cast, scales, columns, values.stride(0), values.stride(1), block, num_warps=16 if block > 8_192 else 8)
    return cast, scales


def multiply(left: Rows8, right: Rows8, dtype: torch.dtype) -> Tensor:
    """[m, k] times the transpose of [n, k], both as `cast_rows` gives them."""
    (rows, scales), (columns, own) = left, right
    if not rows.is_cuda:
        return ((rows.float() * scales) @ (columns.float() * own).t()).to(dtype)
    return torch._scaled_mm(rows, columns.t(), scale_a=scales, scale_b=own.t(), out_dtype=dtype, use_fast_accum=True)


if torch.cuda.is_available():

    @triton.jit  # type: ignore[untyped-decorator]
    def _cast(values, cast, scales, columns, row_stride, column_stride, block: tl.constexpr):  # type: ignore[no-untyped-def]
        row = tl.program_id(0).to(tl.int64)
        place = tl.arange(0, block)
        inside = place < columns
        found = tl.load(values + row * row_stride + place * column_stride, mask=inside, other=0.0).to(tl.float32)
        scale = tl.maximum(tl.max(tl.abs(found), 0), 2.0**-40) / 448.0
        tl.store(scales + row, scale)
        tl.store(cast + row * columns + place, (found / scale).to(tl.float8e4nv), mask=inside)
