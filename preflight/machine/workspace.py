"""Every path of the kit on this machine, derived from one root."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preflight.findings import Finding
from preflight.machine.platforms import detect_platform
from preflight.machine.platforms.base import CONFIG_ROOT, Platform
from preflight.machine.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where everything of the kit lies on this machine."""

    root: Path
    platform: Platform
    reason: str  # what says that it is this platform

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.root / "runs"

    @property
    def remote(self) -> Path:
        """The folder of what `make colab` keeps: a folder for each config, and the rates that were read."""
        return self.root / "remote"

    def run(self, name: str, config_name: str = "") -> RunFolder:
        """The folder of the run of this name, of a config that may be called otherwise."""
        return RunFolder(folder=self.runs / name, shared=self.runs / (config_name or name))

    def local(self, path: str) -> Path:
        """Where a config's path lies here: `/content/...` is taken under the root, a relative path under the current folder."""
        if path == str(CONFIG_ROOT) or path.startswith(f"{CONFIG_ROOT}/"):
            return self.root / path[len(str(CONFIG_ROOT)) + 1 :]
        try:
            return Path(path).expanduser().absolute()
        except RuntimeError:  # ~name of a user that this machine does not have
            return Path(path).absolute()

    def staged(self, path: str) -> Path:
        """Where a config's data file is trained from: `/content/...` and relative paths below the root, any other as it is."""
        relative = not path.startswith(("/", "~")) and ".." not in Path(path).parts
        return self.root / path if relative else self.local(path)

    def as_json(self) -> dict[str, object]:
        return {"root": str(self.root), "colab": self.platform.name == "colab", "colab_reason": self.reason}


def find_workspace(root: Path | None = None, environ: Mapping[str, str] = os.environ) -> Workspace:
    """The workspace at `root`, by default `/content` on Colab and `workspace/` in the checkout elsewhere. Touches nothing."""
    platform, reason = detect_platform(environ)
    return Workspace(root=(root or platform.root).expanduser().absolute(), platform=platform, reason=reason)


def check_workspace(workspace: Workspace, error: OSError | None) -> list[Finding]:
    """An error if the workspace could not be written to."""
    if error is None:
        return []
    full = error.errno == errno.ENOSPC
    return [
        Finding(
            code="workspace.full" if full else "workspace.not-writable",
            level="error",
            where=str(workspace.root),
            message=f"nothing can be written to the workspace: {error.strerror or error}",
            fix="free some space there, or give another folder: --workspace DIR" if full else "give a folder that you may write to: --workspace DIR",
        )
    ]
