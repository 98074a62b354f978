"""The one piece of the kit that runs inside training. Only Axolotl imports it: preflight lists it in the resolved YAML."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from axolotl.utils.distributed import is_main_process
from bitsandbytes.nn import Linear4bit
from transformers import set_seed

from preflight.checkpoints import mirror
from preflight.machine.orphans import LAUNCHERS, end_forks_too, end_with_parent, let_finish
from preflight.machine.run_folder import EVENTS
from preflight.training.plugin.adapters import stack_products
from preflight.training.plugin.attention import share_heads
from preflight.training.plugin.checkpoints import LastStep, Mirror, hold_run
from preflight.training.plugin.collector import set_aside
from preflight.training.plugin.divergence import Divergence
from preflight.training.plugin.fp8 import use_fp8
from preflight.training.plugin.graphs import use_graphs
from preflight.training.plugin.logbook import Logbook
from preflight.training.plugin.packing import fork_for_groups, share_packing
from preflight.training.plugin.rotary import fuse_rotary
from preflight.training.plugin.spawning import spare_the_program
from preflight.training.plugin.stopwatch import Stopwatch
from preflight.training.plugin.telling import Teller

LOG = logging.getLogger(__name__)
TRAINING = [("axolotl", "cli", f"{name}.py") for name in ("train", "preprocess")]  # the end of the program's path, as `-m` has it


class KitPlugin(BasePlugin):  # type: ignore[misc]  # axolotl is not typed
    """Keeps 4-bit training right on every CPU, and hands what is finished to the mirror."""

    def __init__(self) -> None:
        super().__init__()
        self.divergence = Divergence()
        self.mirror: Mirror | None = None
        self.stopwatch: Stopwatch | None = None
        self.logbook: Logbook | None = None
        self.teller: Teller | None = None

    def get_input_args(self) -> str:
        """The model of the keys that the kit adds to Axolotl's."""
        return "preflight.training.plugin.args.KitArgs"

    def register(self, cfg: Any) -> None:
        """Before Axolotl patches the attention. Training, or the tokenising before it, is one at a time in a run's folder, and ends with its
        launcher."""
        if Path(sys.argv[0]).parts[-3:] in TRAINING:
            hold_run(folder := Path(cfg.output_dir).parent)
            self.teller = Teller(folder)
            self.teller.phase("reading the rows")
            let_finish("terminate_handler")
            end_with_parent(*LAUNCHERS)
            end_forks_too()
        spare_the_program()
        share_packing()
        fork_for_groups()
        set_aside()

    def pre_model_load(self, cfg: Any) -> None:
        """Have every session of a run write its curves to one folder, which TensorBoard shows as one run; and seed what is random
        before there is a trainer, the adapter's first values: without it no two runs of a YAML are the same (seen 2026-11-24).
        And let a Colab machine without a GPU train."""
        if self.teller:
            self.teller.phase("loading the model")
        if cfg.seed is not None:
            set_seed(cfg.seed)
        if not torch.cuda.is_available():  # Axolotl asks for the GPU's name where it sees a variable of Colab (axolotl 0.19.0)
            for name in [name for name in os.environ if "COLAB_" in name]:
                del os.environ[name]
        fuse_rotary(cfg)
        set_aside()
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path(cfg.output_dir) / EVENTS))

    def post_model_load(self, cfg: Any, model: Any) -> None:
        """Have each 4-bit layer keep its weights as they are.

        On a CPU with avx512_bf16, bitsandbytes 0.50.2 repacks them for inference at the first evaluation and never packs
        them back: from then on no gradient passes through a layer, and the loss rises (seen on an AMD EPYC and an Intel
        Xeon, 2026-11-24: 0 of 50 answers right, where a CPU without the instruction reaches 38).
        """
        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False
        if cfg.fp8_frozen_weights:
            use_fp8(model, keep=cfg.fp8_frozen_weights == "kept")
        share_heads()
        if cfg.stack_lora_products:
            stack_products(model)
        if cfg.cuda_graphs:
            use_graphs(model, cfg)

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The callbacks. And a loss that is no number is shown as it is: the trainer would put the mean of earlier ones in its place, and
        wait for the GPU at the end of each step to see whether it has to."""
        trainer.args.logging_nan_inf_filter = False
        settings = mirror.read_settings(Path(cfg.output_dir).parent)
        if settings is None:  # a YAML that was written for another machine, or by hand
            return [self.divergence]
        self.mirror = Mirror(Path(cfg.output_dir), settings.experiment)
        self.stopwatch = Stopwatch(Path(cfg.output_dir), settings.depends)
        self.logbook = Logbook(Path(cfg.output_dir), settings.depends, self.divergence)
        callbacks = [LastStep(trainer), self.divergence, self.stopwatch, self.logbook, self.mirror]
        return [*callbacks, self.teller] if self.teller else callbacks

    def post_train_unload(self, cfg: Any) -> None:
        """Everything is saved by now, the final adapter too."""
        if self.logbook:
            self.logbook.finish()
        if self.teller:
            self.teller.phase("bringing what is left to its place")
        if self.mirror:
            self.mirror.finish(worth=not self.divergence.lost, early=bool(self.logbook and self.logbook.stopped_early))
        if self.stopwatch:
            self.stopwatch.finish()
        if self.logbook:
            self.logbook.finish()  # once more: the time that the copies took is paid for as well
        if self.divergence.last_word and is_main_process():
            LOG.error(self.divergence.last_word)
