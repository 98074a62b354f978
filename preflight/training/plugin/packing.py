"""How rows are packed, and that the layers of a model share where those of a batch begin."""

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_pinned: Any = None  # the one answer for all rows, while a graph is captured


def starts_of(position_ids: Any) -> Any:
    """Where packed rows begin, and how long the longest is, as attention asks for it; once a batch."""
    from transformers import modeling_flash_attention_utils as flash

    return flash.prepare_fa_kwargs_from_position_ids(position_ids)


def is_packed(position_ids: Any) -> bool:
    """Whether a batch holds more rows than sequences; once a batch."""
    from axolotl.monkeypatch.attention import sdpa_varlen

    return bool(sdpa_varlen._is_packed(position_ids))


@contextmanager
def pinned(starts: Any, longest: Any) -> Iterator[None]:
    """Have attention take these tensors and no others: what a graph reads from at each replay."""
    global _pinned
    _pinned = starts, longest
    try:
        yield
    finally:
        _pinned = None


def share_packing() -> None:
    """Have the layers of a model share where the packed rows of a batch begin.

    Axolotl 0.19.0's varlen attention works it out from `position_ids` anew in each layer, five times waiting for the GPU, which
    is then idle for a sixth of a step (profile of 2026-11-24, docs/benchmarks.md). The values stay the same.
    """
    from axolotl.monkeypatch.attention import sdpa_varlen
    from transformers import modeling_flash_attention_utils as flash

    prepare = flash.prepare_fa_kwargs_from_position_ids

    def prepared(position_ids: Any) -> Any:
        if _pinned:
            return _pinned
        starts, (longest_query, longest_key) = prepare(position_ids)
        return starts, (int(longest_query), int(longest_key))

    if not hasattr(prepare, "__wrapped__"):  # several configs in one process, as in tests
        flash.prepare_fa_kwargs_from_position_ids = once_a_batch(prepared)
        packed = sdpa_varlen._is_packed
        sdpa_varlen._is_packed = once_a_batch(lambda position_ids: bool(_pinned) or packed(position_ids))


def fork_for_groups() -> None:
    """Have no more processes pack rows than there are groups of them (100,000 rows are one), nor any compile what this one has compiled.

    Axolotl 0.19.0 packs them five times for each training and each evaluation, and forks `dataset_num_proc` processes for it (by default one
    a CPU, 4 at most), all of which have numba compile the same function: 5.1 s, in this process 0.6 (2 vCPU, 800 rows, 2026-11-27).
    """
    from axolotl.utils.samplers import multipack

    pack = multipack.pack_parallel

    @functools.wraps(pack)
    def packed(sequence_lengths: Any, bin_capacity: int, group_size: int, bin_size: int, num_processes: int | None = None, **more: Any) -> Any:
        groups = -(-len(sequence_lengths) // group_size)
        if groups > 1 and num_processes != 1:
            multipack.pack_group(sequence_lengths[:0], 0, bin_capacity, 0, bin_size, more.get("safe_mode", True))
        processes = num_processes and max(1, min(groups, num_processes))
        return pack(sequence_lengths, bin_capacity, group_size, bin_size, num_processes=processes, **more)

    if not hasattr(pack, "__wrapped__"):
        multipack.pack_parallel = packed


def once_a_batch(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function of a tensor, which remembers its last answer for as long as it is asked of the same, unchanged tensor."""
    asked: Any = None
    version, answer = -1, None

    @functools.wraps(function)
    def remembering(tensor: Any) -> Any:
        nonlocal asked, version, answer
        if asked is None or asked() is not tensor or version != tensor._version:
            asked, version, answer = weakref.ref(tensor), tensor._version, function(tensor)
        return answer

    return remembering
