"""The one piece of the kit that runs inside training. Only Axolotl imports it: preflight lists it in the resolved YAML."""

from typing import Any

from axolotl.integrations.base import BasePlugin
from bitsandbytes.nn import Linear4bit


class KitPlugin(BasePlugin):  # type: ignore[misc]  # axolotl is not typed
    """Keeps 4-bit training right on every CPU."""

    def post_model_load(self, cfg: Any, model: Any) -> None:
        """Have each 4-bit layer keep its weights as they are.

        On a CPU with avx512_bf16, bitsandbytes 0.50.2 repacks them for inference at the first evaluation and never packs
        them back: from then on no gradient passes through a layer, and the loss rises (seen on an AMD EPYC and an Intel
        Xeon, 2026-11-24: 0 of 50 answers right, where a CPU without the instruction reaches 38).
        """
        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.support_avx512bf16_for_cpu = False
