"""Finding and Report: what every check returns."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fact about the machine, the config or the data, and how to mend it."""

    code: str  # kebab-case `area.what`; stable, documented in docs/findings.md
    level: Level
    message: str  # the fact, with the value seen
    where: str = ""  # "file:line $.json.path", a device, or empty
    fix: str = ""  # a command or an edit that can be copied


def shell_line(variables: Mapping[str, str], command: Sequence[str]) -> str:
    """A command and the variables that it needs as one line of shell."""
    return shlex.join([*(f"{name}={value}" for name, value in variables.items()), *command])


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything one preflight saw and decided; `as_json` is the contract of `--json`."""

    findings: tuple[Finding, ...] = ()
    workspace: Mapping[str, object] = field(default_factory=dict)
    gpu: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    example: Mapping[str, object] = field(default_factory=dict)  # --show-example: one row, token by token
    checkpoints: Mapping[str, object] = field(default_factory=dict)
    setup: Mapping[str, object] = field(default_factory=dict)  # colab_setup.yaml, for a config that needs a GPU
    plan: Mapping[str, object] = field(default_factory=dict)
    changes: tuple[Mapping[str, object], ...] = ()  # key, value, layer: what the YAML that is launched changes in the user's
    config_path: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)  # variables that the command needs
    command: tuple[str, ...] = ()  # empty where there is nothing to launch
    commands: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (on which machines, argv), in order; the last is `command`
    written: bool = False  # whether config_path holds what is to be launched; --plan-only writes nothing

    @property
    def ok(self) -> bool:
        """True if no finding is an error."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def launch_line(self) -> str:
        """The launch command as one line of shell."""
        return self.as_line(self.command)

    def as_line(self, command: tuple[str, ...]) -> str:
        """A command, with the variables that it needs, as one line of shell."""
        return shell_line(self.environment, command)

    def as_json(self) -> dict[str, Any]:
        """Plain values only, ready for `json.dumps`."""
        plain: dict[str, Any] = to_plain(asdict(self))
        return {"ok": self.ok} | plain


def to_plain(value: Any) -> Any:
    """The value with paths as text and tuples as lists, at every depth."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
