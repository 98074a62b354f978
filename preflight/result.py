"""What one preflight saw and decided: the records of its stages."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from preflight.checkpoints.stage import RunState
from preflight.config.settings import Settings
from preflight.config.stage import Recipe
from preflight.data.stage import Data
from preflight.findings import Finding, to_plain
from preflight.launch.stage import Launch
from preflight.machine.stage import Machine
from preflight.plan.stage import Plan


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings, and the record of each stage; None for those that were not reached since a file could not be read."""

    findings: tuple[Finding, ...] = ()
    machine: Machine
    settings: Settings | None = None
    recipe: Recipe | None = None
    data: Data | None = None
    run: RunState | None = None
    plan: Plan | None = None
    launch: Launch | None = None

    @property
    def ok(self) -> bool:
        """True if no finding is an error."""
        return not any(finding.level == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The document of `--json`, whose keys are a contract: plain values only."""
        changes = self.run.config.changes if self.run else ()
        nothing = {"config_path": "", "environment": {}, "command": [], "commands": [], "written": False}
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            **self.machine.as_json(),
            "validators": {**self.recipe.verdict.as_json(), "model_note": self.recipe.model_note} if self.recipe else {},
            "data": self.data.as_json() if self.data else {},
            "example": self.data.example.as_json() if self.data and self.data.example else {},
            "checkpoints": self.run.as_json() if self.run else {},
            "setup": self._settings_as_json(),
            "plan": (self.plan or Plan()).as_json(),
            "changes": to_plain([asdict(change) for change in changes]),
            **(self.launch.as_json() if self.launch else nothing),
        }

    def _settings_as_json(self) -> Mapping[str, object]:
        """colab_setup.yaml, for a config that needs a GPU, with what follows from it on this machine."""
        if self.settings is None or self.recipe is None or not self.recipe.config.needs_gpu:
            return {}
        return asdict(self.settings) | {
            "runs_per_month": self.settings.runs_per_month,
            "units_per_hour": self.settings.compute.compute_units_per_hour.get(self.recipe.tier_name),
            "units_per_hour_read": self.settings.compute.measured.get(self.recipe.tier_name),
            "free_disk_gb": round(self.machine.host.free_bytes / 1e9),
        }
