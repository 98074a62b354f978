"""Everything that a session on Colab needs, in one call from a cell of the notebook."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from preflight import drive, pipeline, setup, tensorboard
from preflight.findings import Finding, Report
from preflight.workspace import CHECKOUT, Workspace, find_workspace

TOKEN = "HF_TOKEN"  # noqa: S105  # the name of the secret


def setup_colab_environment(request: pipeline.Request | None = None) -> Report:
    """Mount Drive, make its folders, take the token from the secrets, update the code, then preflight, and start TensorBoard.

    In a cell of a Colab notebook; elsewhere only preflight and TensorBoard. Returns preflight's Report with what happened here
    among its findings. Nothing is trained, and a second call does only what is not done yet.
    """
    request = request or pipeline.Request()
    workspace = find_workspace(request.workspace)
    settings, _ = setup.read_setup(request.setup)  # preflight reports what is wrong with it
    findings: list[Finding] = []
    if workspace.colab.found and settings:
        findings += mount(workspace, settings)
        findings += read_secret()
        findings += update_code(CHECKOUT)
    report = pipeline.preflight(request)
    if report.config_path:
        findings += show_curves(Path(report.config_path).parent / "outputs")
    said = {finding.code for finding in findings}  # preflight finds again what could not be set up
    return replace(report, findings=(*findings, *(finding for finding in report.findings if finding.code not in said)))


def mount(workspace: Workspace, settings: Mapping[str, Any]) -> list[Finding]:
    """Mount Drive and make the folders of the settings on it."""
    where = settings["drive"]
    folders = [where["models"], where["logs"], where["tensorboard"], settings["data"]["drive_folder"]]
    point = str(workspace.local(where["mount"]))
    problem = drive.mount_google_drive(point, [str(workspace.local(folder)) for folder in folders])
    if problem:
        fix = drive.MOUNT_CELL.format(mount=point)
        return [Finding(code="drive.not-mounted", level="error", where=point, message=f"Drive can't be mounted: {problem}", fix=fix)]
    return [Finding(code="drive.mounted", level="ok", where=point, message="Drive is mounted, and the project's folders are there")]


def read_secret() -> list[Finding]:
    """Put the secret HF_TOKEN into this process's environment, which its children inherit. It is written nowhere."""
    if os.environ.get(TOKEN):
        return []
    try:
        from google.colab import userdata

        os.environ[TOKEN] = userdata.get(TOKEN)
    except Exception as error:  # SecretNotFoundError, NotebookAccessError, TimeoutException; AttributeError outside a cell
        message = f"no secret {TOKEN} ({type(error).__name__}): a model that asks for accepted terms can't be fetched"
        fix = "the key symbol on the left: add the secret, and switch on its notebook access"
        return [Finding(code="hub.no-secret", level="warning", where="Colab's secrets", message=message, fix=fix)]
    return [Finding(code="hub.secret", level="ok", where="Colab's secrets", message=f"{TOKEN} is set for this session")]


def update_code(checkout: Path) -> list[Finding]:
    """Bring the checkout to its origin's newest commit, by fast-forward only and never over local edits."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=120, check=False)

    def left_alone(reason: str, fix: str) -> list[Finding]:
        return [Finding(code="code.not-updated", level="warning", where=str(checkout), message=f"the code was left as it is: {reason}", fix=fix)]

    again = f"git -C {checkout} pull --ff-only"
    try:
        before = git("rev-parse", "HEAD").stdout.strip()
        if not before or not git("remote").stdout.strip():
            return []  # no checkout, or one that came from nowhere: an archive, a test
        if edited := git("status", "--porcelain", "--untracked-files=no").stdout.splitlines():
            names = ", ".join(line[3:] for line in edited[:3])
            return left_alone(f"it has edits of yours ({names})", f"keep them, or undo them: git -C {checkout} checkout .")
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
    state = "started" if board.started else "already there"
    message = f"{state}, on port {board.port}; in a cell: {board.magic.splitlines()[-1]}"
    return [Finding(code="tensorboard.running", level="ok", where=str(outputs), message=message)]
