"""What is run on the rented machine, in its kernel: this file's text, then a call of `answer`. Standard library only, Python 3.11 or newer.

All paths are relative to the folder that the kernel stands in, /content on Colab. Each call is short; training runs on in a process of its own.
"""

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CODE, WORK, RESULTS, IN, OUT = (Path(name) for name in ("kit", "kit-work", "kit-results", "kit-in", "kit-out"))
MARK = "PREFLIGHT-ANSWER "  # what comes before an answer: the exit code of `colab exec` says nothing of the code that it ran
TAIL = 6000  # characters of the log that a look brings


def answer(name: str, /, **given: Any) -> None:
    """Call one of the functions below, and show what it returned on a line of its own. Shown by a write: nothing in this room prints."""
    import sys

    functions: dict[str, Callable[..., Any]] = {"look": look, "unpack": unpack, "join": join, "cut": cut, "start": start}
    try:
        said = {"value": functions[name](**given)}
    except OSError as error:
        said = {"missing" if isinstance(error, FileNotFoundError) else "error": f"{error.strerror or error}: {error.filename or ''}"}
    sys.stdout.write(f"\n{MARK}{json.dumps(said)}\n")
    sys.stdout.flush()


def look() -> dict[str, Any]:
    """What is here: the GPUs, what was sent, whether training runs, what is finished. Makes the folders that uploads need."""
    for folder in (IN, OUT, WORK, RESULTS):
        folder.mkdir(exist_ok=True)
    log, commit, ended = IN / "log", CODE / ".commit", IN / "ended"
    running = _running()
    results = [path.parent.name for path in RESULTS.glob("checkpoint-*/manifest.json")]
    final = ["."] if (RESULTS / "manifest.json").is_file() else []
    small = [
        RESULTS / "throughput.json",
        RESULTS / "README.md",
        RESULTS / "history.json",
        log,
        *sorted((RESULTS / "runs").rglob("*")),
        *WORK.glob("runs/*/evaluation*.json"),
        *WORK.glob("runs/*/config.yaml"),
        *(WORK.glob("runs/*/training.log") if not running else ()),  # which grows by the second, and says why a training has failed
    ]
    return {
        "gpus": _gpus(),
        "commit": commit.read_text() if commit.is_file() else "",
        "received": {path.name: path.stat().st_size for path in IN.iterdir() if path.is_file()},
        "arrived": _arrived(),
        "started": (IN / "pid").is_file(),
        "running": running,
        "ended": int(ended.read_text()) if ended.is_file() and ended.read_text().strip() else None,
        "finished": sorted(results) + final,
        "small": {path.as_posix(): [path.stat().st_size, path.stat().st_mtime_ns] for path in small if path.is_file()},
        "tail": _tail(log),
    }


def _gpus() -> list[list[str]]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if "," in line] if done.returncode == 0 else []


def _running() -> bool:
    """Whether the process that was started lives. One that died and whose end the kernel has not asked for still has its number."""
    try:
        number = int((IN / "pid").read_text())
        os.kill(number, 0)
    except (OSError, ValueError):
        return False
    state = Path(f"/proc/{number}/stat")
    return not state.exists() or state.read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read().decode("utf-8", "replace")


def unpack(name: str, commit: str) -> bool:
    """Unpack the code; its commit is written last, so that half of it does not count."""
    CODE.mkdir(exist_ok=True)
    with tarfile.open(IN / name) as archive:
        archive.extractall(CODE, filter="data")
    (CODE / ".commit").write_text(commit)
    return True


def join(names: list[str], to: str) -> str:
    """Make one file of the parts that came, in the place of `to`; its sha256, which a look shows from then on."""
    target, digest = Path(to), hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.new")
    with aside.open("wb") as file:
        for name in names:
            file.write(held := (IN / name).read_bytes())
            digest.update(held)
    aside.replace(target)
    arrived = _arrived() | {to: digest.hexdigest()}
    (IN / ".arrived").write_text(json.dumps(arrived))
    (IN / ".arrived").replace(IN / "arrived")
    for name in names:
        (IN / name).unlink()
    return arrived[to]


def _arrived() -> dict[str, str]:
    """The sha256 of each file that was sent as a whole."""
    return dict(json.loads((IN / "arrived").read_text())) if (IN / "arrived").is_file() else {}


def cut(path: str, offset: int, size: int) -> int:
    """Put so many bytes of a file from there on into kit-out/part; how many there were."""
    with Path(path).open("rb") as file:
        file.seek(offset)
        (OUT / "part").write_bytes(held := file.read(size))
    return len(held)


def start(arguments: list[str], token_file: str) -> int:
    """Start installation, preflight, training and evaluation as one process that outlives this call; its id. Started twice, it is one.

    The token's file is read and deleted; from then on it is in that process's environment alone.
    """
    environment, token = dict(os.environ), IN / token_file
    if token_file and token.is_file():
        environment["HF_TOKEN"] = token.read_text().strip()
        token.unlink()
    if _running():
        return int((IN / "pid").read_text())
    (IN / "ended").unlink(missing_ok=True)
    here = Path.cwd()
    places = ["--workspace", str(here / WORK), "--set", f"output_dir={here / RESULTS}"]
    arguments = [str(here / argument) if argument.startswith(f"{IN}/") else argument for argument in arguments]
    script = 'scripts/train.sh "$@" >> "$LOG" 2>&1; code=$?; echo $code > "$LOG.code"; mv "$LOG.code" "$ENDED"'
    environment |= {"LOG": str(here / IN / "log"), "ENDED": str(here / IN / "ended")}
    nothing: dict[str, Any] = dict.fromkeys(
        ("stdin", "stdout", "stderr"), subprocess.DEVNULL
    )  # nobody who reads this call's output waits for training
    process = subprocess.Popen(["bash", "-c", script, "train", *arguments, *places], cwd=CODE, env=environment, start_new_session=True, **nothing)
    (IN / "pid").write_text(str(process.pid))
    return process.pid
