"""What is sent to the machine: the code of a commit, and the rows as one zip. What an earlier run brought home is set aside for it."""

import subprocess
import time
from pathlib import Path

from preflight.checkpoints.copies import checkpoints_in
from preflight.data.archives import TooLargeError, pack
from preflight.data.formats import SUFFIXES
from preflight.data.stage import DataSource
from preflight.files import CHECKOUT, Progress, copy_atomic, read_content
from preflight.remote.colab import RemoteError
from preflight.remote.state import HOME, ROWS, RunFile, read_run

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


def pack_rows(source: Path, to: Path, progress: Progress) -> str:
    """Make one zip of the row files of a folder, or take the zip that `source` is; its sha256. The same rows give the same bytes. Raises
    RemoteError, OSError."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        copy_atomic(source, to)
        return read_content(to).sha256
    files = [path for path in sorted(source.glob("*")) if path.suffix in SUFFIXES and path.is_file()] if source.is_dir() else []
    if not files:
        raise RemoteError(f"--data {source}: no rows are there")
    try:
        return pack(files, to, LIMIT, progress)
    except TooLargeError as error:
        raise RemoteError(
            f"--data {source}: packed, its rows have {error.args[0]:,} bytes, more than the {LIMIT:,} that are sent",
            "put a zip of them at an https address, and give that: --data https://...zip",
        ) from None


def changed_rows(given: str, run: RunFile, folder: Path, progress: Progress) -> str:
    """The source of the run's rows, or the one that is given now, where it holds others than the run was begun with; '' where it holds the
    same or is no longer there. Raises RemoteError, OSError."""
    source = DataSource.named(given or run.data)
    if source.address or not run.rows_sha256:
        if given and given != run.data and str(source.path) != run.data:
            where = run.data or "where its config says"
            raise RemoteError(
                f"the run that was begun here has its rows from {where}", "without --data the same command goes on; --fresh begins anew"
            )
        return ""
    if source.path is None or not (given or source.path.exists()):
        return ""
    now = folder / f".now-{ROWS}"
    try:
        return str(source.path) if pack_rows(source.path, now, progress) != run.rows_sha256 else ""
    finally:
        for path in (now, now.with_name(f"{now.name}.sha256")):
            path.unlink(missing_ok=True)


def refuse_lost_rows(run: RunFile, folder: Path) -> None:
    """Raises RemoteError where the rows that the run was begun with are no longer beside its file."""
    rows = folder / ROWS
    if run.rows_sha256 and not (rows.is_file() and read_content(rows).sha256 == run.rows_sha256):
        raise RemoteError(f"{rows} is no longer what this run was begun with", "--fresh begins anew")


def refuse_other_rows(folder: Path, sha256: str) -> None:
    """Raises RemoteError where an earlier try left checkpoints of other rows: preflight on the machine would refuse to go on from them."""
    before, home = read_run(folder), folder / HOME
    if before and before.code and before.rows_sha256 not in ("", sha256) and checkpoints_in(home):
        raise RemoteError(
            f"the rows are not those of the earlier try, whose checkpoints are in {home}: preflight on the machine would refuse to mix them",
            "--fresh sets them aside and begins anew; or give the earlier rows",
        )


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
