"""What a run on a rented machine needs, handed from step to step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preflight.files import Progress, silent
from preflight.remote.bring import PART, Line
from preflight.remote.colab import Colab
from preflight.remote.follow import Progressed
from preflight.remote.state import HOME, RunFile, write_run

EVERY, RETRY, PATIENCE = 30.0, 20.0, 2 * 3600.0  # seconds: between two looks, after trouble, and of trouble without a break
# seconds in which a machine may still come of a `colab new` that gave no answer: the command's own limit to the silence of a request is 120 s
SETTLE = 150.0


@dataclass(frozen=True, kw_only=True)
class Journey:
    """The command, what to send, where the run's things lie here, whom to tell."""

    colab: Colab
    folder: Path  # of this run, on the laptop
    code: Path  # the committed code, as an archive
    rows: Path | None  # the packed rows
    gpus: Sequence[str]  # in order of preference, as `colab new` calls them
    token: str = field(default="", repr=False)
    rates: Mapping[str, float] = field(default_factory=dict)  # units an hour by tier, as far as they are known
    say: Callable[[str], None]
    follow: Callable[[Progressed, float], None]  # where training stands, and the units so far; 0 where the rate is not known
    progress: Progress = silent
    every: float = EVERY
    retry: float = RETRY
    patience: float = PATIENCE
    settle: float = SETTLE
    part: int = PART

    @property
    def home(self) -> Path:
        """Where checkpoints, adapter, evaluation and events come to."""
        return self.folder / HOME

    def line(self, run: RunFile) -> Line:
        """The way to the machine that the run is on."""
        return Line(colab=self.colab, session=run.session, progress=self.progress, part=self.part)

    def keep(self, run: RunFile) -> RunFile:
        """The run as it stands, for after a kill. Raises OSError."""
        write_run(self.folder, run)
        return run
