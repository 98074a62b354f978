"""What is measured inside a training process, whoever trains: seconds and real tokens of each step, memory, losses.

Axolotl loads it as the plugin `gpu_probe.ProbePlugin`; a script of TRL or Unsloth calls `attach`. PROBE_OUT names the file to write,
PROBE_SKIP the steps that don't count, PROBE_CAP the memory in GiB that the process may take, PROBE_PROFILE the file for a kernel table.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

PROFILED = 3  # steps


def cap_memory() -> None:
    """Have this process live with less memory than the card has, as a smaller card would."""
    if cap := os.environ.get("PROBE_CAP"):
        torch.cuda.set_per_process_memory_fraction(float(cap) * 2**30 / torch.cuda.get_device_properties(0).total_memory)


class Probe(TrainerCallback):
    """Waits for the GPU where the counted steps begin and end, and nowhere between: a step may be launched while the GPU still has the last one."""

    def __init__(self, trainer: Any) -> None:
        self.skip = int(os.environ["PROBE_SKIP"])
        self.times: list[float] = []
        self.tokens: list[torch.Tensor] = []  # seen until then
        self.losses: list[float] = []
        self.gradients: list[float] = []
        self.seen: Any = 0
        self.peak = self.reserved = 0
        self.profiler: Any = None
        inner = trainer.training_step

        def training_step(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
            self.seen = self.seen + (inputs["labels"] != -100).sum()  # what has loss: padding has none
            return inner(model, inputs, *rest, **named)

        trainer.training_step = training_step

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.begun = time.time()
        self.times.append(time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step == self.skip:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        self.tokens.append(self.seen)
        self.peak = max(self.peak, torch.cuda.max_memory_allocated())  # Axolotl's log sets the counter back
        self.reserved = max(self.reserved, torch.cuda.max_memory_reserved())
        if state.global_step == 1:
            self.first = time.time() - psutil.Process().create_time()
        if state.global_step == self.skip:
            self.loaded = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self.peak = self.reserved = 0
        if "PROBE_PROFILE" in os.environ and state.global_step == self.skip:
            self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA])
            self.profiler.__enter__()
        if self.profiler and state.global_step == self.skip + PROFILED:
            self.profiler.__exit__(None, None, None)
            events = self.profiler.key_averages()
            Path(os.environ["PROBE_PROFILE"]).write_text(
                events.table(sort_by="self_cuda_time_total", row_limit=45, max_name_column_width=90)
                + events.table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=60)
            )
            self.profiler = None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.gradients.append(float(logs.get("grad_norm", 0)))

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        torch.cuda.synchronize()
        self.times[-1] = time.perf_counter()
        tokens = [int(seen) for seen in self.tokens]
        result = {
            "seconds": [after - before for before, after in zip(self.times, self.times[1:], strict=False)],
            "tokens": [after - before for before, after in zip([0, *tokens], tokens, strict=False)],
            "losses": self.losses,
            "grad_norms": self.gradients,
            "loaded_gib": self.loaded / 2**30,
            "allocated_gib": self.peak / 2**30,
            "reserved_gib": self.reserved / 2**30,
            "first_step_s": self.first,
            "training_began_s": self.begun - psutil.Process().create_time(),
        }
        Path(os.environ["PROBE_OUT"]).write_text(json.dumps(result))


def attach(trainer: Any) -> None:
    trainer.add_callback(Probe(trainer))


try:
    from axolotl.integrations.base import BasePlugin
except ImportError:  # a process of TRL or Unsloth
    pass
else:

    class ProbePlugin(BasePlugin):  # type: ignore[misc]  # axolotl is not typed
        def pre_model_load(self, cfg: Any) -> None:
            cap_memory()

        def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
            return [Probe(trainer)]
