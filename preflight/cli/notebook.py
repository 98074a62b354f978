"""What the cells of notebooks/train_colab.ipynb call: each does one step, shows what it did, and fails its cell if it could not."""

import os
import shlex
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preflight.checkpoints.mirror import left_behind
from preflight.cli import session
from preflight.cli.console import printable
from preflight.cli.launch import EXIT_NOT_KEPT, Launchable, read_report
from preflight.config.layers import UsageError, parse_override
from preflight.config.names import find_run
from preflight.config.secrets import masked_text
from preflight.config.settings import read_settings
from preflight.files import CHECKOUT, quoted
from preflight.findings import Finding
from preflight.launch import tensorboard
from preflight.launch.command import telemetry_off
from preflight.machine.environment import inspect_environment
from preflight.machine.platforms.base import CONFIG_ROOT
from preflight.machine.workspace import Workspace, find_workspace

# of the kernel, which would change what a child process does: Colab sets some for its own packages, ipykernel some for colours (2026-08)
LEAKING = ("PYTHONPATH", "UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "MPLBACKEND", "FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR")
SECRET = "GITHUB_TOKEN"  # noqa: S105 - its name, which the cell that fetches the repository sets; no child needs it


class CellError(Exception):
    """Ends a cell with a sentence in the place of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"\033[31m{self}\033[0m"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One notebook's run. `root` takes the place of /content; `config`, `overrides` and `name` are those of `python -m preflight`."""

    config: str = "axolotl_configs/mistral_qlora.yaml"
    data: str = ""
    overrides: Sequence[str] = ()
    name: str = ""
    root: str = str(CONFIG_ROOT)

    def begin(self) -> None:
        """Mount Drive, make the project's folders on it, take the secret HF_TOKEN, bring the code to its newest commit."""
        settings, findings = read_settings()
        show([*findings, *session.prepare(self._workspace, settings)])

    def install(self) -> None:
        """The training environment, beside Colab's own packages; nothing where it is there."""
        stream("scripts/setup.sh")

    def compare(self) -> None:
        """What this run would take on each GPU."""
        self._preflight("--gpu", "all", fine=(0, 1))  # what is wrong stops the next step

    def verify(self) -> Launchable:
        """Set the session up and preflight; what starts training, which is empty where nothing is left to train."""
        self.begin()
        report = Path(tempfile.mkdtemp(prefix="preflight-")) / "report.json"  # which `train` reads as well
        self._preflight("--report", str(report))
        launchable = read_report(report)
        show(session.show_curves(self._outputs()))
        return launchable

    def tensorboard(self) -> None:
        """TensorBoard in the cell's output, with the curves of every earlier session."""
        board, problem = tensorboard.start(self._outputs())
        if board is None:
            raise CellError(f"TensorBoard does not run: {problem}")
        tensorboard.show(board)

    def train(self, launchable: Launchable, verbose: bool = False) -> None:
        """Run what `verify` returned and show how it goes; with `verbose`, all that Axolotl prints. After a stop the same cells resume from the
        latest complete checkpoint."""
        if not launchable:
            print("Nothing left to train.")
            return
        if launchable.where:
            raise CellError(f"This run takes several machines: type the commands of the report on {launchable.where}")
        shown = "--verbose" if verbose else "--live"
        self._python("preflight.cli.launch", str(launchable.report), shown, fine=(0, EXIT_NOT_KEPT))
        self._require_kept("Training has ended")

    def ask(self, questions: int | None = None) -> None:
        """Questions of the test rows, answered by the base and by the trained adapter, each answer run on PostgreSQL. Without a number: as many
        as five minutes take."""
        number = [] if questions is None else ["--questions", str(questions)]
        self._python("preflight.evaluation", self.config, *self._known_by, "--workspace", self.root, *number)

    def test_loss(self) -> None:
        """The loss on the rows that were never trained on and never chosen by, as Axolotl's own evaluation has it."""
        self._python("preflight.evaluation", self.config, *self._known_by, "--workspace", self.root, "--test-loss")

    def merge(self) -> None:
        """Base and adapter as one model, for programs that can't load an adapter: 14.5 GB for Mistral-7B."""
        outputs = self._outputs()
        configuration = str(outputs.parent / "config.yaml")
        self._python("axolotl.cli.main", "merge-lora", configuration, f"--lora-model-dir={outputs}", f"--output-dir={outputs.parent}")
        merged = outputs.parent / "merged"
        print(f"The merged model is in {merged}. To keep it: cp -r {quoted(merged)} {quoted(self.root, '/drive/MyDrive/')}")

    def push(self, name: str) -> None:
        """The adapter to the hub as `owner/name`, private; nothing where `name` is empty. HF_TOKEN has to be one that may write."""
        if name:
            left_out = [f"--exclude={pattern}" for pattern in ("checkpoint-*/*", "runs/*", "*.log")]
            stream(self._beside("hf"), "upload", name, str(self._outputs()), ".", "--private", *left_out)

    def hand_back(self, sure: bool) -> None:
        """Give the machine back, so that it takes no more units. What is on Drive stays; its own disk is gone."""
        if not sure:
            return
        self._require_kept("The machine was not handed back")
        try:
            self._workspace.platform.hand_back()
        except RuntimeError as error:
            raise CellError(f"The machine was not handed back: {error}. In Colab: Runtime > Disconnect and delete runtime") from None

    def _require_kept(self, what: str) -> None:
        """Raises CellError unless all that the run has saved is in its folder for results: this machine's own disk goes away."""
        if missing := left_behind(self._outputs()):
            bring = f"{self._beside('python')} -m preflight.mirror {quoted(self._outputs())}"
            raise CellError(f"{what}, and {missing}. Run cell 2 (Drive), then in a new cell: !cd {quoted(CHECKOUT)} && {bring}")

    @property
    def _workspace(self) -> Workspace:
        return find_workspace(Path(self.root))

    def _preflight(self, *options: str, fine: Sequence[int] = (0,)) -> None:
        data = ["--data", self.data] if self.data else []
        self._python("preflight", self.config, *self._known_by, *data, "--workspace", self.root, *options, fine=fine)

    @property
    def _known_by(self) -> Sequence[str]:
        """The options by which the run is known."""
        return [part for override in self.overrides for part in ("--set", override)] + (["--name", self.name] if self.name else [])

    def _python(self, module: str, *arguments: str, fine: Sequence[int] = (0,)) -> None:
        stream(self._beside("python"), "-m", module, *arguments, fine=fine)

    def _beside(self, name: str) -> str:
        """A command of the training environment."""
        accelerate = inspect_environment().accelerate
        if accelerate is None:
            raise CellError("The training environment is not installed: run the cell that installs it")
        return str(accelerate.with_name(name))

    def _outputs(self) -> Path:
        try:
            overrides = [parse_override(override) for override in self.overrides]
        except UsageError as error:
            raise CellError(str(error)) from None
        return find_run(self._workspace, CHECKOUT / self.config, overrides, unicodedata.normalize("NFC", self.name)).outputs


def stream(*command: str, fine: Sequence[int] = (0,)) -> None:
    """Run the command in the checkout and show its output as it comes. Raises CellError unless it ends as `fine`."""
    env = {name: value for name, value in os.environ.items() if name not in (*LEAKING, SECRET)} | {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"}
    env |= telemetry_off()
    with subprocess.Popen(command, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            while chunk := os.read(process.stdout.fileno(), 1 << 16):  # not lines: a progress bar ends none
                sys.stdout.write(chunk.decode(errors="replace"))
                sys.stdout.flush()
        except KeyboardInterrupt:
            process.terminate()
            raise CellError("Stopped. The same cells resume from the latest checkpoint") from None
    if process.returncode not in fine:
        raise CellError(
            f"This step failed with exit code {process.returncode}; the cause and the fix are above ({shlex.join(map(masked_text, command))})"
        )


def show(findings: Sequence[Finding]) -> None:
    """A line for each finding. Raises CellError if one is an error."""
    for finding in findings:
        print(printable(f"{finding.level:<8} {finding.message}" + (f"\n{'':<9}fix: {finding.fix}" if finding.fix else "")))
    if any(finding.level == "error" for finding in findings):
        raise CellError("This step could not be done; the fix is above")
