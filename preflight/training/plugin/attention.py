"""Attention over packed rows in which several query heads share a key and a value, as they are."""

import functools
import inspect
from typing import Any

import torch

from preflight.training.plugin import packing


def share_heads() -> None:
    """Have attention read each key and value head where it lies. To be called when Axolotl has put its varlen attention in place.

    Axolotl 0.19.0 repeats them, four times in a Mistral, and transposes the copies; the kernel takes them as they are. On an H100 that took
    0.017 s of a step (profile of 2026-11-27, docs/benchmarks.md). The values stay the same.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    theirs = ALL_ATTENTION_FUNCTIONS["sdpa"]
    if hasattr(theirs, "_axolotl_sdpa_original") and not hasattr(theirs, "__wrapped__"):  # several configs in one process, as in tests
        ALL_ATTENTION_FUNCTIONS.register("sdpa", grouped(theirs))


def grouped(theirs: Any) -> Any:
    """Axolotl's varlen attention, but for what fits the kernel with fewer key heads than query heads."""
    from torch.nn.attention.varlen import varlen_attn

    asked = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}  # torch 2.11 takes them unasked

    @functools.wraps(theirs)
    def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, dropout: float = 0.0, scaling: Any = None, **rest: Any) -> Any:
        heads, size = query.shape[1], query.shape[-1]
        positions = rest.get("position_ids")
        window = rest.get("sliding_window") or getattr(module, "sliding_window", None)
        if (
            heads == key.shape[1]
            or attention_mask is not None
            or dropout
            or size > 256
            or (scaling is not None and abs(scaling - size**-0.5) >= 1e-9)
            or not query.is_cuda
            or query.dtype not in (torch.float16, torch.bfloat16)
            or positions is None
            or not packing.is_packed(positions)
        ):
            return theirs(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest)
        (starts, ends), (longest, _) = packing.starts_of(positions if positions.dim() > 1 else positions[None])
        flat = [one.transpose(1, 2).reshape(-1, one.shape[1], size) for one in (query, key, value)]
        found = varlen_attn(
            *flat, starts.to(torch.int32), ends.to(torch.int32), longest, longest, window_size=(window - 1 if window else -1, 0), **asked
        )
        return found.reshape(len(query), -1, heads, size), None

    return attention
