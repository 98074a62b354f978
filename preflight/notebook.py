"""What the cells of notebooks/train_colab.ipynb call: each does one step, shows what it did, and fails its cell if it could not."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preflight import colab, packages, pipeline, setup, tensorboard
from preflight.findings import Finding
from preflight.workspace import CHECKOUT, COLAB_ROOT, find_workspace

# of the kernel, which would change what a child process does: Colab sets some for its own packages, ipykernel some for colours (2026-08)
LEAKING = ("PYTHONPATH", "UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "MPLBACKEND", "FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR")


class CellError(Exception):
    """Ends a cell with a sentence in the place of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"\033[31m{self}\033[0m"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One notebook's run. `root` takes the place of /content, and `config` and `overrides` are those of `python -m preflight`."""

    config: str = "axolotl_configs/mistral_qlora.yaml"
    data: str = ""
    overrides: Sequence[str] = ()
    root: str = str(COLAB_ROOT)

    def begin(self) -> None:
        """Mount Drive, make the project's folders on it, take the secret HF_TOKEN, bring the code to its newest commit."""
        workspace = find_workspace(Path(self.root))
        settings, findings = setup.read_setup()
        if settings and workspace.colab.found:
            findings = [*colab.mount(workspace, settings), *colab.read_secret(), *colab.update_code(CHECKOUT)]
        show(findings)

    def install(self) -> None:
        """The training environment, beside Colab's own packages; nothing where it is there."""
        stream("scripts/setup.sh")

    def compare(self) -> None:
        """What this run would take on each GPU."""
        self._preflight("--gpu", "all", fine=(0, 1))  # what is wrong stops the next step

    def verify(self) -> str:
        """Set the session up and preflight; the command that starts training, or '' where nothing is left to train."""
        with contextlib.chdir(CHECKOUT):  # where a config's relative paths lead from, as for every command below
            report = colab.setup_colab_environment(self._request())
        show([finding for finding in report.findings if finding.code.partition(".")[0] in ("drive", "hub", "code", "tensorboard")])
        last = self._preflight()[-1]
        return last if " -m axolotl.cli.train " in last else ""

    def tensorboard(self) -> None:
        """TensorBoard in the cell's output, with the curves of every earlier session."""
        from IPython import get_ipython

        board, problem = tensorboard.start(self._outputs())
        if board is None:
            raise CellError(f"TensorBoard does not run: {problem}")
        for line in board.magic.splitlines():
            name, _, rest = line.removeprefix("%").partition(" ")
            get_ipython().run_line_magic(name, rest)

    def train(self, command: str) -> None:
        """Run the command of `verify`, its output as it comes. After a stop the same cells go on from the newest whole checkpoint."""
        if not command:
            print("Nothing left to train.")
            return
        stream("bash", "-c", command)

    def ask(self, questions: int = 20) -> None:
        """Questions of the test rows, answered by the base and by the trained adapter."""
        self._python("preflight.evaluation", self.config, "--workspace", self.root, "--questions", str(questions))

    def test_loss(self) -> None:
        """The loss on the rows that were never trained on and never chosen by, as Axolotl's own evaluation has it."""
        self._python("preflight.evaluation", self.config, "--workspace", self.root, "--test-loss")

    def merge(self) -> None:
        """Base and adapter as one model, for programs that can't load an adapter: 14.5 GB for Mistral-7B."""
        outputs = self._outputs()
        configuration = str(outputs.parent / "config.yaml")
        self._python("axolotl.cli.main", "merge-lora", configuration, f"--lora-model-dir={outputs}", f"--output-dir={outputs.parent}")
        print(f"The merged model is in {outputs.parent / 'merged'}. To keep it: cp -r {outputs.parent / 'merged'} {self.root}/drive/MyDrive/")

    def push(self, name: str) -> None:
        """The adapter to the hub as `owner/name`, private; nothing where `name` is empty. HF_TOKEN has to be one that may write."""
        if name:
            left_out = [f"--exclude={pattern}" for pattern in ("checkpoint-*/*", "runs/*", "*.log")]
            stream(self._beside("hf"), "upload", name, str(self._outputs()), ".", "--private", *left_out)

    def hand_back(self, sure: bool) -> None:
        """Give the machine back, so that it takes no more units. What is on Drive stays; its own disk is gone."""
        if sure:
            from google.colab import runtime

            runtime.unassign()

    def _request(self) -> pipeline.Request:
        from preflight.config import UsageError, parse_override

        try:
            overrides = tuple(parse_override(text) for text in self.overrides)
        except UsageError as error:
            raise CellError(str(error)) from None
        source, address = pipeline.data_source(self.data)
        if self.data and not address and not (source and source.exists()):
            raise CellError(f"DATA: {self.data} is not there: a folder, a .zip, or the https address of one")
        return pipeline.Request(config=CHECKOUT / self.config, overrides=overrides, workspace=Path(self.root), data=source, address=address)

    def _preflight(self, *options: str, fine: Sequence[int] = (0,)) -> list[str]:
        sets = [part for override in self.overrides for part in ("--set", override)]
        data = ["--data", self.data] if self.data else []
        return self._python("preflight", self.config, *sets, *data, "--workspace", self.root, *options, fine=fine)

    def _python(self, module: str, *arguments: str, fine: Sequence[int] = (0,)) -> list[str]:
        return stream(self._beside("python"), "-m", module, *arguments, fine=fine)

    def _beside(self, name: str) -> str:
        """A command of the training environment."""
        accelerate = packages.inspect_environment().accelerate
        if accelerate is None:
            raise CellError("The training environment is not there: run the cell that installs it")
        return str(accelerate.with_name(name))

    def _outputs(self) -> Path:
        return find_workspace(Path(self.root)).run(Path(self.config).stem).outputs


def stream(*command: str, fine: Sequence[int] = (0,)) -> list[str]:
    """Run the command in the checkout and show its output as it comes; its lines. Raises CellError unless it ends as `fine`."""
    env = {name: value for name, value in os.environ.items() if name not in LEAKING} | {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        seen = b""
        try:
            while chunk := os.read(process.stdout.fileno(), 1 << 16):  # not lines: a progress bar ends none
                sys.stdout.write(chunk.decode(errors="replace"))
                sys.stdout.flush()
                seen += chunk
        except KeyboardInterrupt:
            process.terminate()
            raise CellError("Stopped. The same cells go on from the newest checkpoint") from None
    if process.returncode not in fine:
        raise CellError(f"This step failed with exit code {process.returncode}; what went wrong, and the mend, stands above ({shlex.join(command)})")
    return seen.decode(errors="replace").splitlines() or [""]


def show(findings: Sequence[Finding]) -> None:
    """A line for each finding. Raises CellError if one is an error."""
    for finding in findings:
        print(f"{finding.level:<8} {finding.message}" + (f"\n{'':<9}mend: {finding.fix}" if finding.fix else ""))
    if any(finding.level == "error" for finding in findings):
        raise CellError("This step could not be done; the mend stands above")
