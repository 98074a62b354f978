"""Everything that a session on a rented machine needs, in one call from a cell of the notebook."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from preflight.config.base_model import TOKEN
from preflight.config.settings import Settings, read_settings
from preflight.files import CHECKOUT, quoted
from preflight.findings import Finding
from preflight.launch import tensorboard
from preflight.machine.workspace import Workspace, find_workspace
from preflight.pipeline import preflight
from preflight.request import Request
from preflight.result import Report


def setup_colab_environment(request: Request | None = None) -> Report:
    """Mount Drive, make its folders, take the token from the secrets, update the code, then preflight, and start TensorBoard.

    In a cell of a Colab notebook; elsewhere only preflight and TensorBoard. Returns preflight's Report with what happened here
    among its findings. Nothing is trained, and a second call does only what is not done yet.
    """
    request = request or Request()
    settings, _ = read_settings(request.settings)  # preflight reports what is wrong with it
    findings = prepare(find_workspace(request.workspace), settings)
    report = preflight(request)
    if report.run:
        findings += show_curves(report.run.folder.outputs)
    said = {(finding.code, finding.where) for finding in findings}  # preflight finds again what could not be set up
    return replace(report, findings=(*findings, *(finding for finding in report.findings if (finding.code, finding.where) not in said)))


def prepare(workspace: Workspace, settings: Settings | None) -> list[Finding]:
    """What only the kernel of a cloud's notebook can do: mount Drive, read the secret; and the code's newest commit."""
    if not workspace.platform.is_cloud or settings is None:
        return []
    return [*mount(workspace, settings), *read_secret(workspace), *update_code(CHECKOUT)]


def mount(workspace: Workspace, settings: Settings) -> list[Finding]:
    """Mount Drive and make the folders of the settings on it."""
    drive = settings.drive
    folders = [str(workspace.local(folder)) for folder in (drive.models, drive.logs, drive.tensorboard, settings.data.drive_folder)]
    point = str(workspace.local(drive.mount))
    if problem := workspace.platform.mount(point, folders):
        fix = workspace.platform.mount_fix(point)
        return [Finding(code="drive.not-mounted", level="error", where=point, message=f"Drive can't be mounted: {problem}", fix=fix)]
    return [Finding(code="drive.mounted", level="ok", where=point, message="Drive is mounted, and the project's folders are there")]


def read_secret(workspace: Workspace) -> list[Finding]:
    """Put the secret HF_TOKEN into this process's environment, which its children inherit. It is written nowhere."""
    where = f"{workspace.platform.title}'s secrets"
    if os.environ.get(TOKEN):
        return []
    try:
        os.environ[TOKEN] = workspace.platform.read_secret(TOKEN)
    except LookupError as error:
        message = f"no secret {TOKEN} ({error.args[0]}): a model that asks for accepted terms can't be fetched"
        return [Finding(code="hub.no-secret", level="warning", where=where, message=message, fix=workspace.platform.secret_fix(TOKEN))]
    return [Finding(code="hub.secret", level="ok", where=where, message=f"{TOKEN} is set for this session")]


def update_code(checkout: Path) -> list[Finding]:
    """Bring the checkout to its origin's newest commit, by fast-forward only and never over local edits."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # nobody is there to answer
        return subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=120, check=False, env=env)

    def left_alone(reason: str, fix: str) -> list[Finding]:
        return [Finding(code="code.not-updated", level="warning", where=str(checkout), message=f"the code was left as it is: {reason}", fix=fix)]

    again = f"git -C {quoted(checkout)} pull --ff-only"
    try:
        before = git("rev-parse", "HEAD").stdout.strip()
        if not before or not git("remote").stdout.strip():
            return []  # no checkout, or one that came from nowhere: an archive, a test
        if edited := git("status", "--porcelain", "--untracked-files=no").stdout.splitlines():
            names = ", ".join(line[3:] for line in edited[:3])
            return left_alone(f"it has edits of yours ({names})", f"keep them, or undo them: git -C {quoted(checkout)} checkout .")
        pulled = git("pull", "--ff-only", "--quiet")
        if pulled.returncode:
            return left_alone((pulled.stderr.strip().splitlines() or ["git pull failed"])[-1], again)
        after = git("rev-parse", "HEAD").stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return left_alone(str(error), again)
    if after == before:
        return []
    message = f"the code went from {before[:9]} to {after[:9]}; restart the kernel if a cell has imported preflight already"
    return [Finding(code="code.updated", level="ok", where=str(checkout), message=message)]


def show_curves(outputs: Path) -> list[Finding]:
    """TensorBoard in the background, with the earlier sessions' curves, which preflight has fetched from Drive."""
    board, problem = tensorboard.start(outputs)
    if board is None:
        return [Finding(code="tensorboard.not-started", level="warning", where=str(outputs), message=f"TensorBoard does not run: {problem}")]
    state = "started" if board.started else "already running"
    message = f"{state}, on port {board.port}; in a cell: {board.cell}"
    return [Finding(code="tensorboard.running", level="ok", where=str(outputs), message=message)]
