"""Google's `colab` command (google-colab-cli 0.7.5, its options and outputs read in its source), and what its answers mean.

It has no machine-readable output. `exec` exits 0 whatever the code did, and keeps the code, its outputs and the values of --env in a file under
~/.config/colab-cli/history: so a secret goes by `upload` from standard input, of which only the two paths are kept.
"""

import json
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.files import write_atomic
from preflight.remote import on_machine

INSTALL = "uv tool install google-colab-cli (it brings the Python 3.12 that the command needs; pip works where `python3 -V` is 3.12 or newer)"
LOG_IN = "run `colab usage` once in a terminal, open the address that it shows, and paste the code"
UNITS = "buy units or wait for the month's: `colab pay` opens the page"
LOST = re.compile(r"Session '.*' (not found|appears to be lost)")
SESSION = re.compile(r"^\[(?P<name>.+?)\] (?P<endpoint>\S+) \| Hardware: (?P<hardware>\S+)", re.M)
UNNAMED = "?"  # what `colab sessions` calls a machine of the account that it did not make here, or whose making it did not see the end of
CALL_LIMIT, EXEC_LIMIT = 900, 300  # seconds


class RemoteError(Exception):
    """What a person has to mend: a sentence, and how."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class LoggedOutError(RemoteError):
    """The command asks for a login. It does so too where its token, good for an hour, can't be renewed for want of a network."""


class TroubleError(Exception):
    """A call failed in a way that may pass: the network, Google's servers."""


class LostError(Exception):
    """The machine is gone."""


class RefusedError(Exception):
    """Colab gives no such machine now."""


class GoneError(Exception):
    """A file is not there any more: training has replaced it by a newer one."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What `colab usage` shows, of the whole account."""

    balance: float
    per_hour: float
    machines: int


@dataclass(frozen=True, kw_only=True)
class Session:
    """A machine that runs. The name is UNNAMED where the command here has none for it."""

    name: str
    endpoint: str
    hardware: str


@dataclass(frozen=True, kw_only=True)
class Colab:
    """The command, found."""

    program: str

    def usage(self) -> Usage:
        """Units left, units an hour, machines. Raises RemoteError, TroubleError."""
        out = self._call("usage")
        found = [re.search(rf"{label}: (-?[\d.]+)", out) for label in ("Current balance", "Usage rate", "Active assignments")]
        if not all(found):
            raise RemoteError("`colab usage` shows something else than version 0.7.5 did", "uv tool install google-colab-cli==0.7.5")
        balance, rate, machines = (float(match[1]) for match in found if match)
        return Usage(balance=balance, per_hour=rate, machines=int(machines))

    def sessions(self) -> list[Session]:
        """Every machine of the account that runs. Raises RemoteError, TroubleError."""
        return [Session(**match.groupdict()) for match in SESSION.finditer(self._call("sessions"))]

    def new(self, name: str, gpu: str) -> None:
        """Take a machine. Raises RefusedError where there is none of this kind."""
        try:
            self._call("new", "-s", name, "--gpu", gpu)
        except TroubleError as error:
            if "Allocation refused" in str(error) or "Backend rejected" in str(error):
                raise RefusedError(str(error)) from None
            raise

    def stop(self, name: str) -> None:
        """Give the machine back; one that is gone is no error."""
        self._call("stop", "-s", name)

    def stop_endpoint(self, endpoint: str, scratch: Path) -> None:
        """Give back a machine that the command has no name for: by a list of sessions, its option --config, in which it has one."""
        held = scratch / ".sessions.json"
        write_atomic(held, json.dumps({endpoint: {"name": endpoint, "token": "", "url": "", "endpoint": endpoint}}))
        try:
            with suppress(LostError):
                self._call("--config", str(held), "stop", "-s", endpoint)
        finally:
            held.unlink(missing_ok=True)
            held.with_name(f"{held.name}.lock").unlink(missing_ok=True)

    def upload(self, name: str, path: Path, to: str) -> None:
        """Send a file into the folder kit-in. Raises TroubleError, LostError."""
        self._call("upload", "-s", name, str(path), f"content/{on_machine.IN}/{to}")

    def upload_secret(self, name: str, secret: str, to: str) -> None:
        """Send a secret by standard input: no command line, no file and no log here holds it."""
        self._call("upload", "-s", name, "/dev/stdin", f"content/{on_machine.IN}/{to}", given=secret)

    def download(self, name: str, path: str, to: Path) -> None:
        """Fetch a file. Raises TroubleError, LostError."""
        self._call("download", "-s", name, f"content/{path}", str(to))

    def ask(self, session: str, function: str, /, **given: Any) -> Any:
        """What a function of on_machine returns there. Raises TroubleError, LostError, GoneError."""
        arguments = "".join(f", {key}={value!r}" for key, value in given.items())
        code = f"{Path(on_machine.__file__).read_text(encoding='utf-8')}\n\nanswer({function!r}{arguments})\n"
        out = self._call("exec", "-s", session, "--timeout", str(EXEC_LIMIT), given=code)
        lines = [line for line in out.splitlines() if line.startswith(on_machine.MARK)]
        if not lines:
            raise TroubleError(f"the machine gave no answer to {function}: {_last_line(out)}")
        try:
            said = json.loads(lines[-1].removeprefix(on_machine.MARK))
        except ValueError:
            raise TroubleError(f"the answer to {function} was cut") from None
        if "missing" in said:
            raise GoneError(said["missing"])
        if "error" in said:
            raise TroubleError(f"on the machine: {said['error']}")
        return said["value"]

    def _call(self, *arguments: str, given: str = "") -> str:
        """Standard output of one call. Its standard input is never a terminal, so that it can't wait for somebody."""
        command = arguments[2] if arguments[0] == "--config" else arguments[0]
        try:
            done = subprocess.run([self.program, *arguments], input=given, capture_output=True, text=True, timeout=CALL_LIMIT, errors="replace")
        except subprocess.TimeoutExpired:
            raise TroubleError(f"`colab {command}` has not ended for {CALL_LIMIT} s") from None
        except OSError as error:
            raise RemoteError(f"{self.program} can't be run: {error.strerror}", INSTALL) from None
        said = f"{done.stdout}\n{done.stderr}"
        if done.returncode == 0:
            return said
        if "authorization code" in said or "No valid default credentials" in said or "Client OAuth config not found" in said:
            raise LoggedOutError("the `colab` command is not logged in to a Google account", LOG_IN)
        if "SyntaxError" in said or "requires a different Python" in said or "No module named 'colab_cli" in said:
            raise RemoteError("the `colab` command can't run on the Python that it was installed with: it needs 3.12 or newer", INSTALL)
        if LOST.search(said):
            raise LostError(_last_line(said))
        raise TroubleError(f"`colab {command}`: {_last_line(said)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def find_colab() -> Colab:
    """The command on the PATH. Raises RemoteError."""
    program = shutil.which("colab")
    if program is None:
        raise RemoteError("the `colab` command is not installed", INSTALL)
    return Colab(program=program)
