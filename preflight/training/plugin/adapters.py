"""The adapter's thin products, shared by projections of one input: `stack_lora_products`.

Axolotl's LoRA kernels multiply an input with the A of each projection, and again in the backward pass; and add what dropout gives back in
passes of their own. Here q, k and v, and gate and up, are multiplied with their A matrices stacked, once, and one kernel adds what comes back
through dropout. The arithmetic is Axolotl's, in another order of sums; of an input that dropout has thinned out only that is kept.
"""

import types
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from axolotl.kernels import lora
from axolotl.kernels.utils import torch_amp_custom_bwd, torch_amp_custom_fwd
from torch import Tensor, nn

from preflight.training.plugin import thin


@dataclass(frozen=True)
class Group:
    """Projections of one input: their frozen weights, and adapters of one scale, in the type of the products."""

    frozen: tuple[tuple[Tensor, Any], ...]  # each a weight, as bitsandbytes packs it, and its state
    a: Tensor  # of all, stacked: [ranks, in]
    b: tuple[Tensor, ...]  # of each: [out, rank]
    scale: float

    @classmethod
    def of(cls, frozen: tuple[tuple[Tensor, Any], ...], adapters: tuple[Tensor, ...], scale: float, dtype: torch.dtype) -> "Group":
        return cls(frozen, torch.cat(adapters[::2]).to(dtype), tuple(b.to(dtype) for b in adapters[1::2]), scale)

    def each(self, narrow: Tensor) -> tuple[Tensor, ...]:
        """The columns of each projection, of [tokens, ranks]."""
        return tuple(narrow.split([b.shape[1] for b in self.b], 1))

    def frozen_of(self, given: Tensor) -> list[Tensor]:
        """What the frozen weights make of [tokens, in]."""
        return [torch.matmul(given, lora.dequantize(weight.t(), state)) for weight, state in self.frozen]

    def forward(self, given: Tensor, dropped: Tensor) -> tuple[list[Tensor], Tensor]:
        """What the projections make of [tokens, in], and `dropped` times the stacked A."""
        found, narrow = self.frozen_of(given), dropped @ self.a.t()
        for out, own, b in zip(found, self.each(narrow), self.b, strict=True):
            out.addmm_(own, b.t(), alpha=self.scale)
        return found, narrow

    def backward_b(self, grads: list[Tensor], narrow: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The gradients behind each B, side by side as `narrow` is, and those of each B."""
        behind = torch.empty_like(narrow)
        for grad, b, place in zip(grads, self.b, self.each(behind), strict=True):
            torch.mm(grad, b, out=place)
        return behind, [
            torch.addmm(b, grad.t(), own, beta=0, alpha=self.scale) for grad, own, b in zip(grads, self.each(narrow), self.b, strict=True)
        ]

    def backward_a(self, behind: Tensor, dropped: Tensor) -> tuple[Tensor, ...]:
        """The gradient of each A."""
        return tuple(torch.addmm(self.a, behind.t(), dropped, beta=0, alpha=self.scale).split([b.shape[1] for b in self.b]))

    def backward_frozen(self, grads: list[Tensor]) -> Tensor:
        """The gradient of the input through the frozen weights."""
        found: Tensor | None = None
        for grad, (weight, state) in zip(grads, self.frozen, strict=True):
            plain = lora.dequantize(weight, state)
            found = torch.mm(grad, plain) if found is None else found.addmm_(grad, plain)
        assert found is not None
        return found

    def backward_given(self, grads: list[Tensor], behind: Tensor, mask: Tensor | None, kept: float) -> Tensor:
        """The gradient of the input; `kept` is the share that dropout leaves."""
        found = self.backward_frozen(grads)
        if mask is None:
            return found.addmm_(behind, self.a, alpha=self.scale)
        return thin.add_dropped(found, behind, self.a, mask, self.scale / kept)


def thinned(given: Tensor, dropout: float) -> tuple[Tensor, Tensor | None]:
    """The input with dropout, and what it kept."""
    return torch.native_dropout(given, dropout, True) if dropout else (given, None)


def gradients(a: tuple[Tensor, ...], b: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(chain.from_iterable(zip(a, b, strict=True)))


class Projections(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed
    """q, k and v of one input, or o alone."""

    @staticmethod
    @torch_amp_custom_fwd  # type: ignore[untyped-decorator]
    def forward(ctx: Any, given: Tensor, dropout: float, frozen: Any, scale: float, *adapters: Tensor) -> tuple[Tensor, ...]:
        group, flat = Group.of(frozen, adapters, scale, given.dtype), given.reshape(-1, given.shape[-1])
        dropped, mask = thinned(flat, dropout)
        found, narrow = group.forward(flat, dropped)
        ctx.save_for_backward(dropped, mask, narrow, group.a, *group.b)
        ctx.rest = frozen, scale, 1 - dropout, given.shape
        return tuple(out.view(*given.shape[:-1], -1) for out in found)

    @staticmethod
    @torch_amp_custom_bwd  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        dropped, mask, narrow, a, *b = ctx.saved_tensors
        frozen, scale, kept, shape = ctx.rest
        group, grads = Group(frozen, a, tuple(b), scale), [grad.reshape(-1, grad.shape[-1]) for grad in given]
        behind, of_b = group.backward_b(grads, narrow)
        of_given = group.backward_given(grads, behind, mask, kept).view(shape)
        return of_given, None, None, None, *gradients(group.backward_a(behind, dropped), of_b)


class Mlp(torch.autograd.Function):  # type: ignore[misc]
    """gate and up of one input, SwiGLU, and down. As in Axolotl, down's input has no dropout, and is computed again in the backward pass."""

    @staticmethod
    @torch_amp_custom_fwd  # type: ignore[untyped-decorator]
    def forward(ctx: Any, given: Tensor, dropout: float, frozen: Any, scale: float, *adapters: Tensor) -> Tensor:
        inner, outer = Group.of(frozen[:2], adapters[:4], scale, given.dtype), Group.of(frozen[2:], adapters[4:], scale, given.dtype)
        flat = given.reshape(-1, given.shape[-1])
        dropped, mask = thinned(flat, dropout)
        (gate, up), narrow = inner.frozen_of(flat), dropped @ inner.a.t()
        hidden = thin.swiglu(gate, up, inner.each(narrow), inner.b, scale)
        (out,), last = outer.forward(hidden, hidden)
        ctx.save_for_backward(dropped, mask, gate, up, narrow, last, inner.a, outer.a, *inner.b, *outer.b)
        ctx.rest = frozen, scale, 1 - dropout, given.shape
        return out.view(given.shape)

    @staticmethod
    @torch_amp_custom_bwd  # type: ignore[untyped-decorator]
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        dropped, mask, gate, up, narrow, last, a, down_a, *b = ctx.saved_tensors
        frozen, scale, kept, shape = ctx.rest
        inner, outer = Group(frozen[:2], a, tuple(b[:2]), scale), Group(frozen[2:], down_a, tuple(b[2:]), scale)
        grads = [given.reshape(-1, given.shape[-1])]
        after, of_down_b = outer.backward_b(grads, last)
        hidden, *grads = thin.swiglu_backward(outer.backward_frozen(grads), gate, up, after, down_a, scale)
        of_down_a = outer.backward_a(after, hidden)
        behind, of_b = inner.backward_b(grads, narrow)
        of_given = inner.backward_given(grads, behind, mask, kept).view(shape)
        return of_given, None, None, None, *gradients((*inner.backward_a(behind, dropped), *of_down_a), [*of_b, *of_down_b])


def given_of(projections: list[Any], training: bool) -> tuple[Any, ...] | None:
    """(dropout, frozen weights, scale, the adapters' matrices) of projections that fit; None where one has a bias, DoRA, another scale, rank
    or dropout, or no adapter in use."""
    found = [lora.get_lora_parameters(projection) for projection in projections]
    if any(a is None or one is not None for _, bias, _, a, _, _, lora_bias, _, magnitude in found for one in (bias, lora_bias, magnitude)):
        return None
    shares = {getattr(dropout, "p", 0.0) if training else 0.0 for *_, dropout, _ in found}
    scales, ranks = {scale for _, _, _, _, _, scale, *_ in found}, {a.shape[0] for _, _, _, a, *_ in found}
    if max(map(len, (shares, scales, ranks))) > 1:
        return None
    frozen = tuple((weight, state) for weight, _, state, *_ in found)
    return (*shares, frozen, *scales, *chain.from_iterable((a, b) for _, _, _, a, b, *_ in found))


def apply_qkv(self: Any, given: Tensor) -> Any:
    fit = given_of([self.q_proj, self.k_proj, self.v_proj], self.training)
    return Projections.apply(given, *fit) if fit else lora.apply_lora_qkv(self, given)


def apply_o(self: Any, given: Tensor) -> Any:
    fit = given_of([self.o_proj], self.training)
    return Projections.apply(given, *fit)[0] if fit else lora.apply_lora_o(self, given)


def apply_mlp(self: Any, given: Tensor) -> Any:
    fit = given_of([self.gate_proj, self.up_proj, self.down_proj], self.training)
    return Mlp.apply(given, *fit) if fit else lora.apply_lora_mlp_swiglu(self, given)


def stack_products(model: nn.Module) -> None:
    """Have the layers that Axolotl gave its LoRA kernels share their adapters' products."""
    mine = {
        lora.apply_lora_qkv: ("apply_qkv", apply_qkv),
        lora.apply_lora_o: ("apply_o", apply_o),
        lora.apply_lora_mlp_swiglu: ("forward", apply_mlp),
    }
    for module in model.modules():
        for theirs, (name, own) in mine.items():
            if getattr(module.__dict__.get(name), "__func__", None) is theirs:
                setattr(module, name, types.MethodType(own, module))
