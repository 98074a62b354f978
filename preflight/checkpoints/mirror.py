"""Copy what a run has finished to Drive, so that nothing incomplete there ever counts.

A checkpoint is copied under another name, synced, read back, renamed, and gets its manifest last. Without a manifest it counts
for nothing. Standard library only: it runs beside training, in a process of its own (cli/mirror.py).
"""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preflight import files
from preflight.checkpoints import cards, manifest
from preflight.checkpoints.copies import FINAL, KEPT, DamagedError, ForeignError, bring, checkpoints_in, prune, step_of, title
from preflight.checkpoints.manifest import Manifest
from preflight.files import Progress, require_mount, silent
from preflight.machine.answering import answering
from preflight.machine.run_folder import CARD, EVENTS, HISTORY, RECORDS

SETTINGS = "mirror.json"  # beside the outputs: what preflight tells the plugin
LOCK = ".mirror.lock"  # beside them too: one mirror at a time


@dataclass(frozen=True, kw_only=True)
class MirrorSettings:
    """Where a run's results go. An empty `to` means nowhere: checkpoints get their manifest all the same."""

    to: str = ""
    mount: str = ""  # a folder that has to be a mount, or nothing is written: a Drive that is gone leaves an empty folder behind
    experiment: Mapping[str, Any]
    depends: Mapping[str, Any] = field(default_factory=dict)  # what the seconds that a step takes are recorded with


def write_settings(run: Path, settings: MirrorSettings) -> None:
    """Raises OSError."""
    files.write_atomic(run / SETTINGS, json.dumps(asdict(settings), indent=1))


def read_settings(run: Path) -> MirrorSettings | None:
    """What `write_settings` wrote below `run`, or None."""
    try:
        settings = MirrorSettings(**json.loads((run / SETTINGS).read_text(encoding="utf-8")))
    except (OSError, *files.MALFORMED):
        return None
    texts, mappings = (settings.to, settings.mount), (settings.experiment, settings.depends)
    return settings if all(map(_may_be_path, texts)) and all(isinstance(held, dict) for held in mappings) else None


def _may_be_path(text: object) -> bool:
    try:
        return isinstance(text, str) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def unmirrored(outputs: Path, to: Path) -> list[str]:
    """Names below `outputs` that are finished and not at `to` in the same state: checkpoints, newest first, FINAL, event files.
    Raises OSError."""
    saved = [(path.name, held) for path in checkpoints_in(outputs) if (held := manifest.read(path))]
    best = saved[0][1].best_step if saved else 0
    checkpoints = [(name, held) for i, (name, held) in enumerate(saved) if i < KEPT or held.step == best]
    final = [(FINAL, held)] if (held := manifest.read(outputs)) else []
    names = [name for name, held in checkpoints + final if not _is_kept(to / name, held)]
    small = [path for path in _small(outputs) if not _same(outputs / path, to / path)]
    return names + [str(path) for path in small if path.name != CARD or (final and _takes_card(to, final[0][1].experiment))]


def _is_kept(copy: Path, held: Manifest) -> bool:
    """Whether the copy is there as the manifest says. Sizes are looked at again each time: Drive has lost files that it had taken."""
    return manifest.read(copy) == held and not manifest.difference(copy, held, hashes=False)


def left_behind(outputs: Path) -> str:
    """Why what a run has saved is not all in its folder for results, or ''. For the moment at which a machine is given back."""
    settings = read_settings(outputs.parent)
    if settings is None or not settings.to:
        return ""
    try:
        missing = [name for name in answering(_missing, settings.to)(outputs, settings) if not is_small(name)]
    except OSError as error:
        return f"{settings.to} can't be read: {error.strerror or error}"
    names = ", ".join(map(title, missing))
    return f"{names} {'are' if len(missing) > 1 else 'is'} not in {settings.to}" if missing else ""


def _missing(outputs: Path, settings: MirrorSettings) -> list[str]:
    require_mount(settings.mount)
    return unmirrored(outputs, Path(settings.to))


def mirror(
    outputs: Path,
    settings: MirrorSettings,
    progress: Progress = silent,
    verified: Collection[int] = (),
    on_verified: Callable[[int], object] = lambda step: None,
) -> list[str]:
    """Bring all that is finished to Drive; return the names of what was brought. Raises OSError, with nothing half-taken.

    `verified` are the steps that this session has copied and read back, and `on_verified` is told of each more: these are kept whatever
    else lies there. What is not this run's stays as it is; ForeignError names the first of it, once all else is brought.
    """
    require_mount(settings.mount)
    to, verified = Path(settings.to), set(verified)
    to.mkdir(parents=True, exist_ok=True)
    brought, foreign = list[str](), list[ForeignError]()
    for name in unmirrored(outputs, to):
        try:
            bring(outputs, to, name, progress, own=settings.experiment)
        except DamagedError:
            continue  # preflight passes over it as well, and says so
        except ForeignError as error:
            foreign.append(error)
            continue
        except FileNotFoundError:
            if name == FINAL or (outputs / name).exists():
                raise
            continue  # training deleted it for a newer one meanwhile
        brought.append(name)
        if (step := step_of(outputs / name)) >= 0:
            verified.add(step)
            on_verified(step)
            prune(to, settings.experiment, verified)
    prune(to, settings.experiment, verified)  # what an earlier kill left
    if foreign:
        raise foreign[0]
    return brought


def restore_small(source: Path, outputs: Path) -> None:
    """The event files and the record of earlier sessions that are not here, so that the curves continue and the pace is known. Raises OSError."""
    for path in _small(source):
        if not (outputs / path).exists():
            files.copy_atomic(source / path, outputs / path)


def keep_small(path: Path, settings: MirrorSettings) -> None:
    """Bring one small file to the results, as it is, if it is there. Raises OSError."""
    require_mount(settings.mount)
    to = Path(settings.to)
    if path.is_file() and (path.name != CARD or _takes_card(to, settings.experiment)):
        files.copy_atomic(path, to / path.name)


def is_small(name: str) -> bool:
    """Whether this is one of the files that go to Drive as they are: no checkpoint and no adapter."""
    return name != FINAL and not name.startswith("checkpoint-")


def _small(outputs: Path) -> Iterator[Path]:
    """Event files, the record of seconds, the history and the card below `outputs`, relative to it."""
    for path in (outputs / RECORDS, outputs / HISTORY, outputs / CARD, *sorted((outputs / EVENTS).rglob("*"))):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(outputs)


def _takes_card(to: Path, own: Mapping[str, Any]) -> bool:
    """Whether the card of this run may be put there: not beside another run's adapter, and not over a page that a person wrote. Raises OSError."""
    there = manifest.read(to)
    return (there is None or there.experiment == own) and cards.is_replaceable(to / CARD)


def _same(path: Path, copy: Path) -> bool:
    """Whether a small file is there already. Event files only ever grow; of the others the bytes count."""
    return _size(path) == _size(copy) and (path.name not in (RECORDS, HISTORY, CARD) or path.read_bytes() == copy.read_bytes())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
