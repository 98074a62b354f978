"""Files to the machine and home from it, in parts, so that a cut line costs one part; what is finished counts at home by its manifest."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflight.checkpoints import copies, manifest
from preflight.checkpoints.cards import is_replaceable
from preflight.checkpoints.copies import FINAL
from preflight.checkpoints.manifest import Manifest
from preflight.files import Progress, read_content, silent
from preflight.machine.run_folder import CARD, HISTORY, RECORDS
from preflight.remote.colab import Colab, GoneError, TroubleError
from preflight.remote.on_machine import IN, OUT, RESULTS

PART = 24 << 20  # bytes of one call: `colab` holds a whole file in memory, as base64 in one JSON document


@dataclass(frozen=True, kw_only=True)
class Line:
    """The way to one machine."""

    colab: Colab
    session: str
    progress: Progress = silent
    part: int = PART

    def send(self, path: Path, to: str, look: Mapping[str, Any], scratch: Path) -> None:
        """Bring a file to the path `to` on the machine; parts that it has already, by the `look` at it, are not sent again, nor a file of
        this sha256. Raises OSError, TroubleError, LostError."""
        size, names, digest = path.stat().st_size, list[str](), read_content(path).sha256
        if look["arrived"].get(to) == digest:
            return
        stem = f"{to.replace('/', '-').replace('.', '_')}-{digest[:12]}"  # parts of another content have other names
        with path.open("rb") as file:
            for number, offset in enumerate(range(0, max(size, 1), self.part)):
                name, held = f"{stem}-part{number}", file.read(self.part)
                names.append(name)
                if look["received"].get(name) != len(held):
                    scratch.write_bytes(held)
                    self.colab.upload(self.session, scratch, name)
                self.progress(f"sending {path.name}", min(size, offset + self.part), size)
        scratch.unlink(missing_ok=True)
        if self.colab.ask(self.session, "join", names=names, to=to) != digest:
            raise TroubleError(f"{path.name} arrived with other bytes than were sent")

    def fetch(self, path: str, size: int, to: Path) -> None:
        """Bring a file home, from where an earlier try ended. Raises OSError, TroubleError, LostError, GoneError."""
        to.parent.mkdir(parents=True, exist_ok=True)
        held, piece = to.with_name(f".{to.name}.part"), to.with_name(f".{to.name}.piece")
        done = held.stat().st_size if held.is_file() else 0
        if done > size or done % self.part:
            held.unlink()
            done = 0
        with held.open("ab") as file:
            while done < size:
                wanted = min(self.part, size - done)
                if self.colab.ask(self.session, "cut", path=path, offset=done, size=wanted) != wanted:
                    raise GoneError(path)
                self.colab.download(self.session, f"{OUT}/part", piece)
                got = piece.read_bytes()
                if len(got) != wanted:
                    raise TroubleError(f"{path} came with {len(got):,} bytes of {wanted:,}")
                file.write(got)
                file.flush()
                done += wanted
                self.progress(f"fetching {path}", done, size)
        piece.unlink(missing_ok=True)
        held.replace(to)


def bring_small(line: Line, small: Mapping[str, tuple[int, int]], home: Path) -> None:
    """The log, the events, the evaluation, the card: those whose size or time is not that of the copy, which bears both, and no card over a page
    that a person wrote. Raises OSError, TroubleError, LostError."""
    for path, (size, changed) in small.items():
        name = path.removeprefix(f"{RESULTS}/").removeprefix(f"{IN}/")
        name = Path(path).name if path.startswith("kit-work/") else name
        target = home / name
        held = target.stat() if target.is_file() else None
        if size == 0 or (held and (held.st_size, held.st_mtime_ns) == (size, changed)) or (name == CARD and not is_replaceable(target)):
            continue
        try:
            target.with_name(f".{target.name}.part").unlink(missing_ok=True)  # these are written on: halves of two states don't go together
            line.fetch(path, size, target)
            os.utime(target, ns=(changed, changed))
        except GoneError:
            continue


def bring_finished(line: Line, name: str, home: Path) -> bool:
    """A finished checkpoint, or the final adapter: verified by its manifest, then in its place at once. False where it was here already, or is
    gone there. Raises OSError, TroubleError, LostError."""
    there = RESULTS if name == FINAL else RESULTS / name
    incoming = home.with_name("incoming")
    staged = incoming if name == FINAL else incoming / name
    try:
        held = _manifest(line, there, staged)
        here = home / name
        if manifest.read(here) == held and not manifest.difference(here, held, hashes=False):
            return False
        for file, (size, digest) in held.files.items():
            if not ((staged / file).is_file() and manifest.content_of(staged / file) == (size, digest)):
                line.fetch((there / file).as_posix(), size, staged / file)
    except GoneError:
        return False
    if problem := manifest.difference(staged, held, hashes=True):
        shutil.rmtree(staged)
        raise TroubleError(f"{copies.title(name)}: {problem}")
    copies.bring(incoming, home, name)
    shutil.rmtree(staged)
    if name != FINAL:
        copies.prune(home, held.experiment, {held.step})
    return True


def _manifest(line: Line, there: Path, staged: Path) -> Manifest:
    """The manifest of what is finished there, fetched anew. Raises GoneError, TroubleError."""
    staged.mkdir(parents=True, exist_ok=True)
    line.colab.download(line.session, (there / manifest.NAME).as_posix(), staged / manifest.NAME)
    held = manifest.read(staged)
    if held is None:
        raise TroubleError(f"the manifest of {there.name} came damaged")
    return held


def send_checkpoint(line: Line, home: Path, look: Mapping[str, Any]) -> str:
    """The newest complete checkpoint at home, to the machine's folder of results, its manifest last; its name, or '' where there is none.
    Raises OSError, TroubleError, LostError."""
    for path in copies.checkpoints_in(home):
        held = manifest.read(path)
        if held is None or manifest.difference(path, held, hashes=True):
            continue
        for file in (*held.files, manifest.NAME):
            line.send(path / file, (RESULTS / path.name / file).as_posix(), look, home.with_name(".sending"))
        for name in (RECORDS, HISTORY):
            if (home / name).is_file():
                line.send(home / name, f"{RESULTS}/{name}", look, home.with_name(".sending"))
        return path.name
    return ""


def described(look: Mapping[str, Any], home: Path) -> list[str]:
    """What is finished there, newest checkpoint first, the adapter last."""
    names = [str(name) for name in look["finished"]]
    return sorted((name for name in names if name != FINAL), key=lambda name: -copies.step_of(home / name)) + [FINAL] * (FINAL in names)
