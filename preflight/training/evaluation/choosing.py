"""Which of a run's kept checkpoints answers best: judged on validation rows, so that the figures on test rows stay those of rows that
nothing was chosen by."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from preflight.checkpoints import manifest
from preflight.checkpoints.copies import checkpoints_in
from preflight.files import copy_atomic
from preflight.machine.run_folder import WEIGHTS
from preflight.training.evaluation.execution import Figures, alone_right, mcnemar


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An adapter that the run has kept."""

    name: str  # that of its folder, or of the checkpoint whose weights the final adapter has
    step: int
    folder: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, and by which figures."""

    step: int  # of the adapter that the run ends with
    trained: int  # the step whose adapter training itself ended with
    questions: int
    right: Mapping[str, int]  # by candidate
    p: float  # that what training ended with is as good: 1 where that was chosen

    @property
    def says(self) -> str:
        """The choice in words."""
        counts = ", ".join(f"{name} {right}" for name, right in self.right.items())
        text = f"step {self.step}, by answers right when run to {self.questions} validation questions ({counts})"
        if self.step == self.trained:
            return text
        sure = "more than chance" if self.p < 0.05 else "which can be chance"
        return f"{text}, in the place of step {self.trained}: {sure}, p = {self.p:.2g}"

    def as_json(self) -> dict[str, Any]:
        """As evaluation.json holds it."""
        return asdict(self) | {"says": self.says}


def find_candidates(outputs: Path) -> list[Candidate]:
    """The final adapter, then each complete checkpoint with other weights, newest first. Raises OSError."""
    final, found = manifest.read(outputs), list[Candidate]()
    for path in checkpoints_in(outputs):
        held = manifest.read(path)
        if held and WEIGHTS in held.files and not manifest.difference(path, held, hashes=True):
            found.append(Candidate(name=path.name, step=held.step, folder=path, sha256=held.files[WEIGHTS][1]))
    if final is None or WEIGHTS not in final.files:
        return []
    sha256 = final.files[WEIGHTS][1]
    same = next((one for one in found if one.sha256 == sha256), None)
    step = same.step if same else final.chosen_step or final.step
    first = Candidate(name=same.name if same else f"step {step}", step=step, folder=outputs, sha256=sha256)
    others = {one.sha256: one for one in reversed(found) if one.sha256 != sha256}
    return [first, *sorted(others.values(), key=lambda one: one.step, reverse=True)]


def choose(candidates: Sequence[Candidate], figures: Mapping[str, Figures], trained: int) -> tuple[Candidate, Choice]:
    """The candidate with the most right answers; of as many, the first, which is what is there already."""
    chosen = max(candidates, key=lambda one: figures[one.name].right)
    first = next((one for one in candidates if one.step == trained), candidates[0])
    best, before = figures[chosen.name].verdicts, figures[first.name].verdicts
    p = mcnemar(*alone_right(best, before, best))
    right = {one.name: figures[one.name].right for one in candidates}
    return chosen, Choice(step=chosen.step, trained=first.step, questions=figures[chosen.name].questions, right=right, p=p)


def install(outputs: Path, chosen: Candidate) -> None:
    """Make it the run's adapter, with its step in the manifest: what is merged, pushed and asked from here on. Raises OSError.

    The weights that were there are those of a checkpoint, which stays."""
    held = manifest.read(outputs)
    if held is None or (held.chosen_step == chosen.step and held.files[WEIGHTS][1] == chosen.sha256):
        return
    if chosen.folder != outputs:
        copy_atomic(chosen.folder / WEIGHTS, outputs / WEIGHTS)
    files = dict(held.files) | {WEIGHTS: manifest.content_of(outputs / WEIGHTS)}
    manifest.write(outputs, replace(held, files=files, chosen_step=chosen.step))
