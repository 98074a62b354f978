"""Which checkpoint is whole; what to resume from."""

import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight import manifest, mirror
from preflight.findings import Finding

# what the trainer of transformers 5.16 writes for a LoRA run (seen by running it)
REQUIRED = ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One `checkpoint-N` folder; whole if `problem` is empty."""

    path: Path
    step: int
    max_steps: int = 0
    problem: str = ""
    experiment: Mapping[str, Any] | None = None  # of the run that wrote it, where its manifest says so


def inspect_checkpoints(outputs: Path) -> tuple[Checkpoint, ...]:
    """Every checkpoint below `outputs`, newest first, without unpickling anything. Bytes are read of the newest ones, up to the
    first that is whole; of older ones only the sizes are compared."""
    found = list[Checkpoint]()
    for path in mirror.checkpoints_in(outputs):
        found.append(_inspect(path, hashes=not newest_whole(found)))
    return tuple(found)


def inspect_mirrored(folder: Path) -> tuple[Checkpoint, ...]:
    """Every checkpoint on Drive, newest first, by its manifest and the sizes of its files. Raises OSError."""
    return tuple(_inspect_mirrored(path) for path in mirror.checkpoints_in(folder))


def newest_whole(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    return next((checkpoint for checkpoint in checkpoints if not checkpoint.problem), None)


def is_finished(outputs: Path) -> bool:
    """True if the final adapter of a run that reached its last step lies here, as its manifest describes it.

    An adapter alone proves nothing: Axolotl saves one, and exits 0, when a run is interrupted.
    """
    try:
        held = manifest.read(outputs)
        return bool(held and held.step >= held.max_steps > 0 and not manifest.difference(outputs, held, hashes=True))
    except OSError:
        return False


def check_checkpoints(checkpoints: Sequence[Checkpoint]) -> list[Finding]:
    """A warning for each checkpoint that is passed over, with the one used in its place."""
    whole = newest_whole(checkpoints)
    used = f"the run goes on from {whole.path.name}" if whole else "the run starts from the beginning"
    return [
        Finding(
            code="checkpoint.corrupt",
            level="warning",
            where=str(checkpoint.path),
            message=f"{checkpoint.path.name} is not whole ({checkpoint.problem}); {used}",
            fix=f"nothing to do; to be rid of it: rm -r {checkpoint.path}",
        )
        for checkpoint in checkpoints
        if checkpoint.problem
    ]


def check_same_run(before: Mapping[str, Any] | None, now: Mapping[str, Any], folder: Path, outputs: Path) -> list[Finding]:
    """An error if `outputs` holds another experiment than `now`; `before` is the experiment that the run's YAML records."""
    trained = any(outputs.glob("checkpoint-*")) or (outputs / "adapter_model.safetensors").exists()
    if not trained or before == now:
        return []
    if before is None:
        differing = "its config.yaml is missing or can't be read"
    else:
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        differing = "; ".join(f"{key}: {before.get(key)} then, {now.get(key)} now" for key in keys)
    return [
        Finding(
            code="checkpoint.other-run",
            level="error",
            where=str(folder),
            message=f"this folder holds a run of another experiment, which would be mixed up with this one ({differing})",
            fix=f"keep it and start anew: mv {folder} {folder}.before; or go back to its values",
        )
    ]


def check_resume(whole: Checkpoint | None, *, finished: bool, resume: bool) -> list[Finding]:
    """An error if there is a checkpoint to go on from and colab_setup.yaml says not to."""
    if whole is None or finished or resume:
        return []
    message = f"a run stopped at step {whole.step} of {whole.max_steps}, and session.resume in colab_setup.yaml says not to go on with it"
    folder = whole.path.parent.parent
    fix = f"resume: true there; or keep it and start anew: mv {folder} {folder}.before"
    return [Finding(code="checkpoint.not-resumed", level="error", where=str(whole.path), message=message, fix=fix)]


def _inspect(path: Path, *, hashes: bool) -> Checkpoint:
    step = mirror.step_of(path)
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        state_step, max_steps = int(state["global_step"]), int(state["max_steps"])
        held = manifest.read(path)
        problem = f"trainer_state.json is of step {state_step}" if state_step != step else ""
        problem = problem or (manifest.difference(path, held, hashes=hashes) if held else _structural_problem(path))
    except FileNotFoundError as error:
        return Checkpoint(path=path, step=step, problem=f"{Path(str(error.filename)).name} is missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Checkpoint(path=path, step=step, problem=f"trainer_state.json can't be read: {error}")
    return Checkpoint(path=path, step=step, max_steps=max_steps, problem=problem, experiment=held.experiment if held else None)


def _inspect_mirrored(path: Path) -> Checkpoint:
    held = manifest.read(path)
    if held is None or held.step != mirror.step_of(path):
        problem = "it has no manifest: its copy was not finished" if held is None else f"its manifest is of step {held.step}"
        return Checkpoint(path=path, step=mirror.step_of(path), problem=problem)
    problem = manifest.difference(path, held, hashes=False)
    return Checkpoint(path=path, step=held.step, max_steps=held.max_steps, problem=problem, experiment=held.experiment)


def _structural_problem(path: Path) -> str:
    """What is wrong with a checkpoint that was killed before its manifest was written, as far as its files tell by themselves."""
    if missing := [name for name in REQUIRED if not _size(path / name)]:
        return f"{', '.join(missing)} missing or empty"
    try:
        json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        return f"adapter_config.json can't be read: {error}"
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):  # zip archives, with a CRC for each part
        try:
            with zipfile.ZipFile(path / name) as archive:
                if broken := archive.testzip():
                    return f"{name} is damaged at {broken}"
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
            return f"{name} is no whole archive: {error}"
    return _safetensors_problem(path / "adapter_model.safetensors")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _safetensors_problem(path: Path) -> str:
    """What is wrong with the file's length: 8 bytes of header length, the header, and the bytes that it promises."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 100_000_000)))
        promised = 8 + length + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        return f"{path.name} has no readable header: {error}"
    actual = _size(path)
    return "" if actual == promised else f"{path.name} has {actual:,} bytes of {promised:,}"
