"""What is sent to the machine: the code of a commit, and the rows as one zip. What an earlier run brought home is set aside for it."""

import subprocess
import time
from pathlib import Path

from preflight.data.archives import pack
from preflight.data.formats import SUFFIXES
from preflight.files import CHECKOUT, Progress
from preflight.remote.colab import RemoteError
from preflight.remote.state import HOME, read_run

LIMIT = 2 << 30  # bytes of packed rows


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]
        raise RemoteError(f"git: {said}", "the machine gets the committed code: use a clone made by git") from None


def inside(config: Path) -> str:
    """The config's path in the checkout, which is its path on the machine."""
    path = config.resolve()
    if not path.is_relative_to(CHECKOUT):
        raise RemoteError(f"{config} is not in {CHECKOUT}, and the machine gets that alone", "put it into axolotl_configs/ and commit it")
    return path.relative_to(CHECKOUT).as_posix()


def committed(config: Path) -> str:
    """The commit that is sent. A config with edits that are in no commit is refused."""
    name = inside(config)
    if _git("status", "--porcelain", "--", name):
        raise RemoteError(f"{name} has edits that are not committed, and the machine gets the committed code", f"git add {name} && git commit")
    return _git("rev-parse", "HEAD")


def set_aside(folder: Path, *, fresh: bool) -> None:
    """Keep what a finished run brought home under another name; of one that failed the next goes on, unless --fresh."""
    before, home = read_run(folder), folder / HOME
    if home.is_dir() and (fresh or (before and before.code == 0)):
        home.rename(folder / f"{HOME}-{int(time.time())}")


def packed(source: Path, folder: Path, progress: Progress) -> Path:
    """The zip itself, or the folder's row files as one; the same rows give the same bytes."""
    if source.is_file():
        return source
    files = [path for path in sorted(source.glob("*")) if path.suffix in SUFFIXES and path.is_file()] if source.is_dir() else []
    if not files:
        raise RemoteError(f"--data {source}: no rows are there")
    pack(files, folder / "rows.zip", LIMIT, progress)
    return folder / "rows.zip"


def archived(folder: Path, commit: str) -> Path:
    """The code of a commit, as one file. Raises RemoteError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    code = folder / f"code-{commit[:12]}.tgz"
    if not code.is_file():
        aside = code.with_name(f".{code.name}.new")
        _git("archive", "--format=tgz", "-o", str(aside), commit)
        aside.replace(code)
    return code


def unsent() -> bool:
    """Whether the code has edits that are in no commit."""
    return bool(_git("status", "--porcelain", "--untracked-files=no"))
