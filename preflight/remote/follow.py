"""A training log, as one line that a person follows."""

import re
from dataclasses import dataclass

# as the kit's launcher writes it, checkpoints.progress.Moment; below it Axolotl's own, which `--verbose` shows
STEP = re.compile(
    r"^step (?P<step>[\d,]+) of (?P<steps>[\d,]+) \(\d+%\)(?:, loss (?P<loss>[^,\s]+))?(?:, (?P<pace>[\d.e+]+ s a step))?"
    r"(?:, (?P<left>[\d:]+) left)?(?:, (?P<last>.+))?$",
    re.M,
)
BAR = re.compile(r"(?P<step>\d+)/(?P<steps>\d+) \[(?P<spent>[\d:]+)<(?P<left>[\d:?]+), +(?P<pace>[\d.?]+(?:s/it|it/s))")
LOSS = re.compile(r"'loss': '?(?P<loss>[\d.e+-]+)")


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """Where training stands; empty where the log says nothing of it yet."""

    step: int = 0
    steps: int = 0
    loss: str = ""
    pace: str = ""
    left: str = ""
    last: str = ""  # what is done where that is not training; the log's last line where there is no step yet

    def __str__(self) -> str:
        if not self.steps:
            return self.last
        parts = [
            f"step {self.step} of {self.steps}",
            f"loss {self.loss}" if self.loss else "",
            self.pace,
            f"{self.left} left" if self.left else "",
            self.last,
        ]
        return ", ".join(part for part in parts if part)


def read_log(tail: str) -> Progressed:
    """What the end of the log says. Of Axolotl's bars the trainer's is the longest-lived, and the loss is the last one shown."""
    if told := list(STEP.finditer(tail)):
        said = {name: value or "" for name, value in told[-1].groupdict().items()}
        step, steps = (int(said.pop(name).replace(",", "")) for name in ("step", "steps"))
        return Progressed(step=step, steps=steps, **said)
    bars, losses = list(BAR.finditer(tail)), list(LOSS.finditer(tail))
    if not bars:
        lines = [line.strip() for line in re.split(r"[\r\n]", tail) if line.strip()]
        return Progressed(last=lines[-1][:120] if lines else "")
    bar, loss = bars[-1], losses[-1]["loss"] if losses else ""
    return Progressed(step=int(bar["step"]), steps=int(bar["steps"]), loss=loss, pace=bar["pace"], left=bar["left"].replace("?", ""))
