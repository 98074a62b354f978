"""Colab or not; every path, derived from one root."""

import errno
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preflight.findings import Finding

CHECKOUT = Path(__file__).resolve().parents[1]
COLAB_ROOT = Path("/content")
# set in every Colab runtime (read in googlecolab/backend-info, 2026-08-19). COLAB_GPU is empty on a CPU runtime
COLAB_VARIABLES = ("COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION", "COLAB_JUPYTER_IP")


@dataclass(frozen=True, kw_only=True)
class Colab:
    """Whether this is a Colab runtime, and what says so."""

    found: bool
    reason: str


def detect_colab(environ: Mapping[str, str] = os.environ) -> Colab:
    """Colab or not, told from the variables that every Colab runtime sets; child processes inherit them."""
    for name in COLAB_VARIABLES:
        if name in environ:
            return Colab(found=True, reason=f"{name} is set")
    return Colab(found=False, reason=f"none of {', '.join(COLAB_VARIABLES)} is set")


@dataclass(frozen=True, kw_only=True)
class Run:
    """The folder of one config's run."""

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved YAML: the one that is launched."""
        return self.folder / "config.yaml"

    @property
    def outputs(self) -> Path:
        """Axolotl's output_dir: checkpoints, adapter, TensorBoard events."""
        return self.folder / "outputs"

    @property
    def prepared(self) -> Path:
        """Axolotl's tokenised rows."""
        return self.folder / "prepared"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where everything of the kit lies on this machine."""

    root: Path
    colab: Colab
    error: str = ""  # why nothing can be written there; empty if it can

    def run(self, config_name: str) -> Run:
        return Run(folder=self.root / "runs" / config_name)

    def local(self, path: str) -> Path:
        """Where a config's path lies here: `/content/...` is taken under the root, a relative path under the current folder."""
        if path == str(COLAB_ROOT) or path.startswith(f"{COLAB_ROOT}/"):
            return self.root / path[len(str(COLAB_ROOT)) + 1 :]
        return Path(path).expanduser().absolute()

    def staged(self, path: str) -> Path:
        """Where a config's data file is trained from: `/content/...` and relative paths below the root, any other as it is."""
        relative = not path.startswith(("/", "~")) and ".." not in Path(path).parts
        return self.root / path if relative else self.local(path)


def find_workspace(root: Path | None = None, environ: Mapping[str, str] = os.environ) -> Workspace:
    """The workspace at `root`, by default `/content` on Colab and `workspace/` in the checkout elsewhere. Touches nothing."""
    colab = detect_colab(environ)
    return Workspace(root=(root or (COLAB_ROOT if colab.found else CHECKOUT / "workspace")).expanduser().absolute(), colab=colab)


def probe_writing(root: Path) -> str:
    """Write, read back and delete a small file below `root`, which is made if need be; return what went wrong, or ''.

    os.access is not asked: for root it says yes to everything, and on Drive it knows nothing.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return "" if file.read() == b"probe" else "a file read back is not what was written"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)


def disk_trouble(error: OSError, folder: Path, what: str, size: int) -> Finding:
    """What an OSError while `what` was written below `folder` means: a full disk, or one that can't be read or written."""
    where, reason = str(error.filename or folder), error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = f"no room for {size:,} bytes of {what}: {reason}"
        fix = f"free {size / 2**20:,.0f} MiB on the disk of {folder.parent}, or choose another: --workspace DIR"
        return Finding(code="workspace.full", level="error", where=where, message=message, fix=fix)
    message = f"the {what} can't be brought to {folder}: {reason}"
    return Finding(
        code="data.unreadable", level="error", where=where, message=message, fix="check the disk and the permissions, then run preflight again"
    )


def check_workspace(workspace: Workspace) -> list[Finding]:
    """An error if the workspace can't be written to."""
    if not workspace.error:
        return []
    full = workspace.error == os.strerror(errno.ENOSPC)
    return [
        Finding(
            code="workspace.full" if full else "workspace.not-writable",
            level="error",
            where=str(workspace.root),
            message=f"nothing can be written to the workspace: {workspace.error}",
            fix="free some space there, or give another folder: --workspace DIR" if full else "give a folder that you may write to: --workspace DIR",
        )
    ]
