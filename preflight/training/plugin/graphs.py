"""The layers' kernels started all at once, as one CUDA graph forward and one backward: `cuda_graphs`.

Python starts some 3,000 kernels a step. Where the GPU is done with them sooner than Python can start the next, it waits: with 8-bit products,
and where two GPUs share a step. A graph is captured at the first step, and replayed from then on; the arithmetic is the same.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from preflight.config.values import why_no_graph
from preflight.training.plugin import packing

LOG = logging.getLogger(__name__)
ROWS = 64  # packed rows that a graph has room for, in all sequences of a step together; a batch of more is run without it


class Stack(nn.Module):  # type: ignore[misc]  # torch is not typed
    """The layers in turn, as one module of tensors alone."""

    def __init__(self, layers: list[nn.Module], position_ids: Tensor) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.forwards = [forward_of(layer) for layer in layers]
        self.position_ids = position_ids

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        for forward in self.forwards:
            hidden = forward(hidden, position_ids=self.position_ids, position_embeddings=(cos, sin), use_cache=False)
        return hidden


def forward_of(layer: nn.Module) -> Any:
    """The layer's forward as its class has it, whatever was put in its place."""
    return type(layer).forward.__get__(layer)


class Graph:
    """A model's layers, captured at their first training step. Whatever the graph does not fit runs as ever."""

    def __init__(self, layers: list[nn.Module], length: int) -> None:
        self.layers, self.length = layers, length
        self.replay: Callable[..., Tensor] | None = None
        self.adapter: tuple[nn.Parameter, ...] = ()
        self.shape: torch.Size | None = None
        self.starts: Tensor | None = None
        self.result: Tensor | None = None  # of the last replay, which the other layers pass on
        self.failed = ""
        self.said = set[str]()
        for number, layer in enumerate(layers):
            layer.forward = functools.partial(self._first if number == 0 else self._later, forward_of(layer))

    def _first(self, plain: Any, hidden: Tensor, **given: Any) -> Tensor:
        self.result = None
        if not self.layers[0].training or not torch.is_grad_enabled():
            return plain(hidden, **given)
        reason = self.failed or self._unfit(hidden, given)
        if not reason and self.replay is None:
            reason = self._captured(hidden, **given)
        if reason:
            if reason not in self.said:
                self.said.add(reason)
                LOG.warning("cuda_graphs: a step is run without them: %s", reason)
            return plain(hidden, **given)
        (starts, _), _ = packing.starts_of(given["position_ids"])
        self._fill(starts)
        assert self.replay is not None
        self.result = self.replay(hidden, *given["position_embeddings"], *self.adapter)
        return self.result

    def _later(self, plain: Any, hidden: Tensor, **given: Any) -> Tensor:
        return hidden if hidden is self.result else plain(hidden, **given)

    def _unfit(self, hidden: Tensor, given: Any) -> str:
        positions = given.get("position_ids")
        if given.get("attention_mask") is not None or positions is None or not packing.is_packed(positions):
            return "its rows are not packed"
        if self.shape is not None and hidden.shape != self.shape:
            return f"it is of {tuple(hidden.shape[:2])} tokens, not of {tuple(self.shape[:2])}"
        (starts, _), _ = packing.starts_of(positions)
        return f"it holds {len(starts) - 1} rows, more than {ROWS}" if len(starts) > ROWS + 1 else ""

    def _fill(self, starts: Tensor) -> None:
        """Where the rows begin, and the end as often as there is room."""
        assert self.starts is not None
        assert self.shape is not None
        self.starts[: len(starts)].copy_(starts)
        self.starts[len(starts) :].fill_(self.shape[0] * self.shape[1])

    def _captured(self, hidden: Tensor, **given: Any) -> str:
        """Capture the layers; why they could not be, or ''."""
        try:
            self._capture(hidden, given["position_ids"], *given["position_embeddings"])
        except RuntimeError as error:  # a run that is paid for goes on
            self.failed = f"they could not be captured: {str(error).splitlines()[0]}"
        return self.failed

    def _capture(self, hidden: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> None:
        self.shape = hidden.shape
        self.starts = torch.empty(ROWS + 1, dtype=torch.int32, device=hidden.device)
        self._fill(packing.starts_of(positions)[0][0])
        stack = Stack(self.layers, positions.clone())
        names, self.adapter = zip(*((name, one) for name, one in stack.named_parameters() if one.requires_grad), strict=True)
        # The adapter in the same memory, by tensors of its own: what several GPUs hang on its parameters (DDP) was made outside of a capture,
        # on a stream that would be drawn into it, and end it.
        samples = tuple(one.detach().requires_grad_(one.requires_grad) for one in (hidden.clone(), cos.clone(), sin.clone(), *self.adapter))

        def layers(hidden: Tensor, cos: Tensor, sin: Tensor, *adapter: Tensor) -> Tensor:
            return functional_call(stack, dict(zip(names, adapter, strict=True)), (hidden, cos, sin))

        random = torch.cuda.get_rng_state()
        autocast = torch.autocast("cuda", torch.get_autocast_dtype("cuda"), enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False)
        with packing.pinned((self.starts, self.starts), (self.length, self.length)), _in_this_thread(), autocast:
            self.replay = torch.cuda.make_graphed_callables(layers, samples)
        torch.cuda.set_rng_state(random)


@contextmanager
def _in_this_thread() -> Iterator[None]:
    """Have a capture mind this thread alone: others pin rows, and watch over what GPUs exchange."""
    plain = torch.cuda.graph
    torch.cuda.graph = functools.partial(plain, capture_error_mode="thread_local")
    try:
        yield
    finally:
        torch.cuda.graph = plain


def use_graphs(model: Any, cfg: Any) -> None:
    """Have this model's layers run as a graph while they train."""
    if reason := why_no_graph(cfg) if torch.cuda.is_available() else "there is no GPU":
        LOG.warning("cuda_graphs: they are left off: %s", reason)
    else:
        Graph(list(model.get_decoder().layers), cfg.sequence_len)
