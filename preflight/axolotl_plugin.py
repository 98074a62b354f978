"""The one piece of the kit that runs inside training. Only Axolotl imports it: preflight lists it in the resolved YAML."""

import functools
import logging
import os
import statistics
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import PartialState
from axolotl.integrations.base import BasePlugin
from bitsandbytes.nn import Linear4bit
from transformers import TrainerCallback, set_seed

from preflight import manifest, mirror, throughput

WARMING = 3  # steps that compile kernels and fill caches
LOG = logging.getLogger(__name__)


class KitPlugin(BasePlugin):  # type: ignore[misc]  # axolotl is not typed
    """Keeps 4-bit training right on every CPU, and hands what is finished to the mirror."""

    def __init__(self) -> None:
        super().__init__()
        self.mirror: Mirror | None = None
        self.stopwatch: Stopwatch | None = None

    def register(self, cfg: Any) -> None:
        """Before Axolotl patches the attention."""
        share_packing()

    def pre_model_load(self, cfg: Any) -> None:
        """Have every session of a run write its curves to one folder, which TensorBoard shows as one run; and seed what is random
        before there is a trainer, the adapter's first values: without it no two runs of a YAML are the same (seen 2026-11-24).
        And let a Colab machine without a GPU train."""
        if cfg.seed is not None:
            set_seed(cfg.seed)
        if not torch.cuda.is_available():  # Axolotl asks for the GPU's name where it sees a variable of Colab (axolotl 0.19.0)
            for name in [name for name in os.environ if "COLAB_" in name]:
                del os.environ[name]
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path(cfg.output_dir) / mirror.EVENTS))

    def post_model_load(self, cfg: Any, model: Any) -> None:
        """Have each 4-bit layer keep its weights as they are.

        On a CPU with avx512_bf16, bitsandbytes 0.50.2 repacks them for inference at the first evaluation and never packs
        them back: from then on no gradient passes through a layer, and the loss rises (seen on an AMD EPYC and an Intel
        Xeon, 2026-11-24: 0 of 50 answers right, where a CPU without the instruction reaches 38).
        """
        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The callback that gives each finished checkpoint its manifest. And a loss that is no number is shown as it is: the trainer
        would put the mean of earlier ones in its place, and waits for the GPU at the end of each step to see whether it has to."""
        trainer.args.logging_nan_inf_filter = False
        settings = mirror.read_settings(Path(cfg.output_dir).parent)
        if settings is None:  # a YAML that was written for another machine, or by hand
            return []
        self.mirror = Mirror(Path(cfg.output_dir), settings.experiment)
        self.stopwatch = Stopwatch(Path(cfg.output_dir), settings.depends)
        return [self.stopwatch, self.mirror]

    def post_train_unload(self, cfg: Any) -> None:
        """Everything is saved by now, the final adapter too."""
        if self.mirror:
            self.mirror.finish()
        if self.stopwatch:
            self.stopwatch.finish()


def share_packing() -> None:
    """Have the layers of a model share where the packed rows of a batch begin.

    Axolotl 0.19.0's varlen attention works it out from `position_ids` anew in each layer, five times waiting for the GPU, which
    then stands idle for a sixth of a step (profile of 2026-11-24, docs/benchmarks.md). The values stay the same.
    """
    from axolotl.monkeypatch.attention import sdpa_varlen
    from transformers import modeling_flash_attention_utils as flash

    prepare = flash.prepare_fa_kwargs_from_position_ids

    def prepared(position_ids: Any) -> Any:
        starts, (longest_query, longest_key) = prepare(position_ids)
        return starts, (int(longest_query), int(longest_key))

    if not hasattr(prepare, "__wrapped__"):  # several configs in one process, as in tests
        flash.prepare_fa_kwargs_from_position_ids = once_a_batch(prepared)
        sdpa_varlen._is_packed = once_a_batch(sdpa_varlen._is_packed)


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


class Stopwatch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Records the seconds that the parts of this run take, for the next preflight's estimate. It never waits for the GPU."""

    def __init__(self, outputs: Path, depends: Mapping[str, Any]) -> None:
        self.outputs, self.depends = outputs, depends
        self.steps: list[float] = []
        self.batches: list[float] = []
        self.saves: list[float] = []  # each with the step that follows it
        self.start = self.last = self.ended = 0.0
        self.end: float | None = None
        self.state: Any = None
        self.counted = 0  # batches of the evaluation under way
        self.plain = self.saved = False  # nothing but a step since `last`; a save since then

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """All that came before a step: the launcher, imports, the model, the rows."""
        self.start = time.time() - launched()
        self.last = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The GPU may lag behind, by as much at each step."""
        now = time.perf_counter()
        if self.plain:
            self.steps.append(now - self.last)
        elif self.saved:
            self.saves.append(now - self.last)
        self.last, self.plain, self.saved = now, True, False

    def on_prediction_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """A batch of an evaluation."""
        self.counted += 1

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Whatever an evaluation takes is shared out among its batches."""
        now = time.perf_counter()
        if self.counted:
            self.batches.append((now - self.last) / self.counted)
        self.counted, self.last, self.plain = 0, now, False

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Other callbacks still have work with it, which counts as well: the next step tells how much."""
        self.plain, self.saved = False, True
        self._record(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """A run may end without a save."""
        self.ended, self.state = time.perf_counter(), state
        self._record(state)

    def finish(self) -> None:
        """All that comes after a step is done. The next mirror takes this last word to Drive."""
        if self.ended:
            self.end = time.perf_counter() - self.ended
            self._record(self.state)

    def _record(self, state: Any) -> None:
        steps = self.steps[WARMING:]
        if not state.is_world_process_zero or not steps or not self.depends:
            return
        step = statistics.mean(steps)
        record = throughput.Record(
            depends=self.depends,
            date=f"{datetime.now():%Y-%m-%d}",
            steps=len(steps),
            step=step,
            evaluation_batch=statistics.mean(self.batches) if self.batches else None,
            save=max(0.0, statistics.mean(self.saves) - step) if self.saves else None,
            start=self.start,
            end=self.end,
        )
        try:
            throughput.write_record(self.outputs, record)
        except OSError as error:
            LOG.warning("the pace of this run can't be recorded: %s", error)


def launched() -> float:
    """When the command of this run was started, in seconds since the epoch: a launcher takes seconds of its own."""
    process = psutil.Process()
    parent = process.parent()
    by_launcher = parent is not None and any(name in part for part in parent.cmdline() for name in ("accelerate", "torchrun"))
    return float(parent.create_time() if parent is not None and by_launcher else process.create_time())


class Mirror(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Writes the manifest of each checkpoint when it is finished, and wakes the process that copies it."""

    def __init__(self, outputs: Path, experiment: Mapping[str, Any]) -> None:
        self.outputs, self.experiment = outputs, experiment
        self.process: subprocess.Popen[bytes] | None = None
        self.state: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Start the mirror, with what an earlier session left for it; an earlier final adapter is none any more."""
        if not state.is_world_process_zero:
            return
        self.state = state
        (self.outputs / manifest.NAME).unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, "-m", "preflight.mirror", str(self.outputs), "--watch"], stdin=subprocess.PIPE)

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The checkpoint of this step is complete once every process has written its part: say what is in it."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            self._describe(self.outputs / f"checkpoint-{state.global_step}", subfolders=True)

    def finish(self) -> None:
        """Describe the final adapter and wait until all is mirrored, or the mirror gives up."""
        if self.process is None:
            return
        if self.state.global_step >= self.state.max_steps:
            self._describe(self.outputs, subfolders=False)
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()

    def _describe(self, folder: Path, *, subfolders: bool) -> None:
        state = self.state
        try:
            found = manifest.describe(
                folder,
                subfolders=subfolders,
                step=state.global_step,
                max_steps=state.max_steps,
                best_step=state.best_global_step or 0,
                experiment=self.experiment,
            )
            manifest.write(folder, found)
            if self.process and self.process.stdin:
                self.process.stdin.write(b"\n")
                self.process.stdin.flush()
        except OSError as error:  # a mirror that died, a disk that is full: training goes on, and the next preflight looks again
            LOG.warning("mirror: %s can't be handed on: %s", folder.name, error)
