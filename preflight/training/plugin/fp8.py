"""The products with the frozen weights in 8 bits, on a GPU that has them (e4m3, compute capability 8.9 and later): `fp8_frozen_weights`.

Axolotl's LoRA kernels unpack a 4-bit weight to bf16 for each product, forward and backward. Here it is unpacked to e4m3 for each, or kept as
two e4m3 copies made once, and each activation and gradient is scaled by row and cast before its product. The adapter's own products, the
loss and the evaluation stay bf16.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from axolotl.kernels import lora
from torch import Tensor

from preflight.training.plugin.rows8 import Rows8, cast_rows, multiply
from preflight.training.plugin.unpack8 import Packed

LOG = logging.getLogger(__name__)


class Weight8:
    """A frozen weight of [out, in] on the right side of a product; for whatever else is asked of it, it unpacks.

    `forward` gives it in e4m3 with a scale for each row, `backward` its transpose: what is summed over has one scale, and torch wants the
    second operand column-major.
    """

    def __init__(
        self, unpack: Callable[[], Tensor], forward: Callable[[], Rows8], backward: Callable[[], Rows8], *, transposed: bool = False
    ) -> None:
        self.unpack, self.forward, self.backward, self.transposed = unpack, forward, backward, transposed

    @classmethod
    def kept(cls, unpack: Callable[[], Tensor]) -> "Weight8":
        """Two copies of the weight that `unpack` gives, made once."""
        weight = unpack()
        forward, backward = cast_rows(weight), cast_rows(weight.t().contiguous())
        return cls(unpack, lambda: forward, lambda: backward)

    @classmethod
    def packed(cls, unpack: Callable[[], Tensor], weight: Tensor, state: Any) -> "Weight8":
        """The weight in its 4 bits, from which each product's operand is made anew."""
        held = Packed.of(weight, state, unpack())
        return cls(unpack, held.rows, held.columns)

    def t(self) -> "Weight8":
        return Weight8(self.unpack, self.forward, self.backward, transposed=not self.transposed)

    def plain(self) -> Tensor:
        """The weight in bf16."""
        return self.unpack().t() if self.transposed else self.unpack()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain(), name)

    def product(self, left: Tensor) -> Tensor:
        """`left` @ the weight, in the type of `left`."""
        right = self.forward() if self.transposed else self.backward()
        found = multiply(cast_rows_once(left.reshape(-1, left.shape[-1])), right, left.dtype)
        return found.view(*left.shape[:-1], found.shape[-1])

    def __rmatmul__(self, left: Tensor) -> Tensor:
        return self.product(left)

    @classmethod
    def __torch_function__(cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = {name: value for name, value in (kwargs or {}).items() if value is not None}
        if not given and function in PRODUCTS and isinstance(args[1], cls):
            return args[1].product(args[0])
        if not given and function is Tensor.addmm_ and isinstance(args[2], cls):
            return args[0].add_(args[2].product(args[1]))
        return function(*(one.plain() if isinstance(one, cls) else one for one in args), **given)


PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}
_last: tuple[Tensor, int, Rows8] | None = None


def cast_rows_once(left: Tensor) -> Rows8:
    """`cast_rows`, once for what is multiplied with several weights in turn: q, k and v, gate and up. The tensor is held until the next one
    comes, so that no other can lie at its place meanwhile."""
    global _last
    if _last and _last[0].data_ptr() == left.data_ptr() and _last[0].shape == left.shape and _last[1] == left._version:
        return _last[2]
    _last = (left, left._version, cast_rows(left))
    return _last[2]


def use_fp8(model: Any, *, keep: bool = False) -> None:
    """Have Axolotl's LoRA kernels multiply with this model's frozen 4-bit weights in 8 bits while it trains; `keep` keeps those."""
    unpack = lora.dequantize
    said = set[str]()

    def dequantize(weight: Tensor, state: Any = None) -> Any:
        if reason := unfit(weight, state, training=model.training):
            if reason not in said and model.training:
                said.add(reason)
                LOG.warning("fp8_frozen_weights: a weight stays in bf16: %s", reason)
            return unpack(weight, state)
        transposed = weight.shape[0] == 1  # a packed weight is [bytes, 1]; Axolotl asks for the transpose by its own
        if (kept := getattr(state, "kit_fp8", None)) is None:
            packed = weight.t() if transposed else weight
            plain = partial(unpack, packed, state)
            kept = state.kit_fp8 = Weight8.kept(plain) if keep else Weight8.packed(plain, packed, state)
        return kept.t() if transposed else kept

    lora.dequantize = dequantize


def unfit(weight: Tensor, state: Any, *, training: bool) -> str:
    """Why a product with this weight stays in bf16, or ''."""
    if not training:
        return "the model is evaluated"
    if not weight.is_cuda or torch.cuda.get_device_capability(weight.device) < (8, 9):
        return "it is on no GPU that multiplies in 8 bits"
    if getattr(state, "dtype", None) != torch.bfloat16:
        return "it is not unpacked to bf16"
    if state.shape[-1] % state.blocksize:
        return f"its rows, of {state.shape[-1]}, are no multiple of its blocks of {state.blocksize}"
    return f"its shape, {tuple(state.shape)}, is no multiple of 16" if any(size % 16 for size in state.shape) else ""
