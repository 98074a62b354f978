"""A weight from bitsandbytes' 4 bits to e4m3, in one pass: half a byte a weight is read and one is written."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from preflight.training.plugin.rows8 import LARGEST, SMALLEST, Rows8

if torch.cuda.is_available():
    import triton
    from triton import language as tl


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A weight of [out, in] in 4 bits, and the scales of its rows and of its columns in e4m3."""

    weight: Tensor  # uint8 of [out * in / 2], the first of each pair in the higher bits
    state: Any  # bitsandbytes' QuantState
    row_scales: Tensor  # float32 of [out, 1]
    column_scales: Tensor  # float32 of [in, 1]

    @classmethod
    def of(cls, weight: Tensor, state: Any, plain: Tensor) -> "Packed":
        """From the weight, and what it is unpacked."""
        rows, columns = (plain.abs().amax(axis).float().clamp(min=SMALLEST).unsqueeze(1) / LARGEST for axis in (1, 0))
        bytes_ = weight.detach().reshape(-1).view(torch.uint8)  # Axolotl stores them as bf16
        return cls(weight=bytes_, state=state, row_scales=rows, column_scales=columns)

    def rows(self) -> Rows8:
        """The weight in e4m3, by row."""
        return self._unpacked(transposed=False), self.row_scales

    def columns(self) -> Rows8:
        """Its transpose, by column of the weight."""
        return self._unpacked(transposed=True), self.column_scales

    def _unpacked(self, *, transposed: bool) -> Tensor:
        scales = self.column_scales if transposed else self.row_scales
        if not self.weight.is_cuda:
            plain = unpack(self.weight, self.state)
            return ((plain.t() if transposed else plain) / scales).to(torch.float8_e4m3fn)
        rows, columns = self.state.shape
        out = torch.empty((columns, rows) if transposed else (rows, columns), device=self.weight.device, dtype=torch.float8_e4m3fn)
        state, nested = self.state, self.state.nested
        second = state.state2 if nested else state
        tile = (128, 64) if transposed else (16, 512)
        _unpack[(triton.cdiv(rows, tile[0]), triton.cdiv(columns, tile[1]))](
            self.weight,
            state.absmax,
            state.code,
            second.code,
            second.absmax,
            state.offset if nested else state.absmax,
            scales,
            out,
            rows,
            columns,
            NESTED=nested,
            BLOCK=state.blocksize,
            INNER=second.blocksize,
            TRANSPOSED=transposed,
            ROWS=tile[0],
            BLOCKS=max(1, tile[1] // state.blocksize),
            num_warps=8,
        )
        return out


def unpack(weight: Tensor, state: Any) -> Tensor:
    """What the kernel reads out of the 4 bits, in float32 of [out, in]: bitsandbytes' own arithmetic, without its rounding to bf16."""
    bytes_ = weight.reshape(-1).view(torch.uint8).int()
    values = state.code[torch.stack([bytes_ >> 4, bytes_ & 15], 1).reshape(-1)]
    largest = state.absmax
    if state.nested:
        second = state.state2
        largest = second.code[largest.int()] * second.absmax.repeat_interleave(second.blocksize)[: largest.numel()] + state.offset
    return (values.view(-1, state.blocksize) * largest.view(-1, 1)).view(state.shape)


if torch.cuda.is_available():

    @triton.jit  # type: ignore[untyped-decorator]
    def _unpack(  # type: ignore[no-untyped-def]
        packed,
        absmax,
        code,
        second_code,
        second_absmax,
        offset,
        scales,
        out,
        rows,
        columns,
        NESTED: tl.constexpr,  # noqa: N803
        BLOCK: tl.constexpr,  # noqa: N803
        INNER: tl.constexpr,  # noqa: N803
        TRANSPOSED: tl.constexpr,  # noqa: N803
        ROWS: tl.constexpr,  # noqa: N803
        BLOCKS: tl.constexpr,  # noqa: N803
    ):
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)  # of a row
        inside = (row < rows)[:, None] & (block < columns // BLOCK)[None, :]
        number = row.to(tl.int64)[:, None] * (columns // BLOCK) + block[None, :]
        if NESTED:
            largest = tl.load(second_code + tl.load(absmax + number, mask=inside, other=0).to(tl.int32))
            largest = largest * tl.load(second_absmax + number // INNER, mask=inside, other=0.0) + tl.load(offset)
        else:
            largest = tl.load(absmax + number, mask=inside, other=0.0)
        if not TRANSPOSED:
            largest = largest / tl.load(scales + row, mask=row < rows, other=1.0)[:, None]
        half: tl.constexpr = BLOCK // 2
        place = number[:, :, None] * half + tl.arange(0, half)[None, None, :]
        pair = tl.load(packed + place, mask=inside[:, :, None], other=0).to(tl.int32)
        first = tl.load(code + (pair >> 4)) * largest[:, :, None]
        later = tl.load(code + (pair & 15)) * largest[:, :, None]
        values = tl.reshape(tl.interleave(first, later), (ROWS, BLOCKS * BLOCK))
        column = tl.program_id(1) * (BLOCKS * BLOCK) + tl.arange(0, BLOCKS * BLOCK)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        if TRANSPOSED:
            values = values / tl.load(scales + column, mask=column < columns, other=1.0)[None, :]
            target = out + column.to(tl.int64)[None, :] * rows + row[:, None]
        else:
            target = out + row.to(tl.int64)[:, None] * columns + column[None, :]
        tl.store(target, values.to(tl.float8e4nv), mask=inside)
