"""What the command line, or a cell of the notebook, asks of a preflight."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preflight.config.layers import Change
from preflight.config.scale import Scale
from preflight.config.settings import SETTINGS, Settings
from preflight.config.tiers import TIERS, Tier, planned_gpu
from preflight.config.validators import Ask, default_ask
from preflight.data.stage import DataSource
from preflight.files import CONFIGS
from preflight.machine.gpu import Gpu


@dataclass(frozen=True, kw_only=True)
class Request:
    """One preflight."""

    config: Path = CONFIGS / "mistral_qlora.yaml"
    overrides: tuple[Change, ...] = ()
    name: str = ""  # of the run; by default made from what `overrides` change, else the config's
    tier: Tier | None = None  # --gpu: plan for this one, whatever is here
    compare: bool = False  # --gpu all: plan for the expected one, and say what each would take
    scale: Scale | None = None  # --scale: several GPUs
    workspace: Path | None = None
    source: DataSource = field(default_factory=DataSource)
    plan_only: bool = False
    validators: Ask = field(default_factory=default_ask)  # whether to ask Axolotl's own: unless this is a plan, always, or never
    settings: Path = SETTINGS

    def planned_gpus(self, settings: Settings | None) -> Sequence[Gpu]:
        """The GPUs that `--gpu` plans for; none where those of this machine are asked."""
        tier = self.tier
        if self.compare and settings:
            tier = next(tier for tier in TIERS if tier.name == settings.compute.expected_gpu)
        count = self.scale.gpus_per_node or 1 if self.scale else 1
        return [planned_gpu(tier)] * count if tier else []
