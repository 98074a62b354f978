"""The first stage: look at the machine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from preflight.files import probe_writing
from preflight.findings import Diagnostics, to_plain
from preflight.machine.caches import Caches, inspect_caches
from preflight.machine.environment import Environment, check_environment, inspect_environment
from preflight.machine.gpu import Gpu, GpuReading, inspect_gpus
from preflight.machine.host import Host, inspect_host
from preflight.machine.workspace import Workspace, check_workspace, find_workspace


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is here."""

    workspace: Workspace
    gpus: GpuReading
    environment: Environment
    host: Host
    writable: bool = True  # whether the workspace can be written to, where that was tried
    caches: Caches | None = None  # where it was tried whether they can be written to

    @property
    def gpu(self) -> Gpu | None:
        """The first GPU, which the settings are made for."""
        return self.gpus.gpus[0] if self.gpus.gpus else None

    def as_json(self) -> dict[str, object]:
        """The keys `workspace` and `gpu` of `--json`."""
        name = self.gpu.name if self.gpu else None
        gpus = to_plain([asdict(one) for one in self.gpus.gpus])
        return {"workspace": self.workspace.as_json(), "gpu": {"name": name, "gpus": gpus, "reason": self.gpus.reason}}


def inspect_machine(root: Path | None, planned: Sequence[Gpu], diagnostics: Diagnostics) -> Machine:
    """This machine, with the workspace at `root`; `planned` GPUs take the place of those that are here."""
    workspace = find_workspace(root)
    error = diagnostics.attempt(None, probe_writing, workspace.root) if diagnostics.writes else None
    gpus = GpuReading(gpus=tuple(planned)) if planned else diagnostics.attempt(GpuReading(reason="not checked"), inspect_gpus)
    environment = diagnostics.attempt(Environment(accelerate=None), inspect_environment)
    host = diagnostics.attempt(Host(), inspect_host, workspace.root)
    diagnostics.check(check_workspace, workspace, error)
    caches = diagnostics.attempt(None, inspect_caches) if diagnostics.writes else None
    if diagnostics.writes:
        diagnostics.check(check_environment, environment)
    return Machine(workspace=workspace, gpus=gpus, environment=environment, host=host, writable=error is None, caches=caches)
