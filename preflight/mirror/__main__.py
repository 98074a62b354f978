"""The mirror as a process of its own, so that a Drive that hangs can't hold training up: `python -m preflight.mirror OUTPUTS`."""

import argparse
import errno
import os
import select
import signal
import sys
import time
from pathlib import Path

from preflight.mirror import FINAL, Settings, alone, is_small, mirror, read_settings, unmirrored

EVERY = 30  # seconds between two looks at the event files; a save is told at once
RETRY = 5  # seconds between two tries when Drive is in trouble
PATIENCE = 300  # seconds of trouble after training has ended

TROUBLE = {
    errno.ENOTCONN: "has dropped out; mount it again (cell 2 of the notebook)",
    errno.ENODEV: "is not mounted; mount it (cell 2 of the notebook)",
    errno.ENOSPC: "is full; delete files there, and empty its trash, which counts too",
    errno.EDQUOT: "is full; delete files there, and empty its trash, which counts too",
    errno.EROFS: "can only be read",
    errno.EACCES: "refuses to be written",
    errno.EIO: "answers with input/output errors, as it does when a quota is used up",
}


def main(argv: list[str] | None = None) -> int:
    """Mirror what is finished; return 0 if nothing is left."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.mirror",
        description="Copies what a run has finished to its Drive folder: checkpoints, the final adapter, TensorBoard's events. Preflight does it too.",
    )
    parser.add_argument("outputs", type=Path, metavar="OUTPUTS", help="the run's outputs, for example /content/runs/mistral_qlora/outputs")
    parser.add_argument("--watch", action="store_true", help="go on until standard input is closed: how training starts it")
    args = parser.parse_args(argv)
    settings = read_settings(args.outputs.parent)
    if settings is None:
        print(f"mirror: {args.outputs.parent} is no run of the kit: run preflight first", file=sys.stderr)
        return 2
    if not settings.to:
        print("mirror: colab_setup.yaml says drive.backup: false, so nothing is mirrored", file=sys.stderr)
        return 0
    try:
        with alone(args.outputs, wait=True):
            return _watch(args.outputs, settings) if args.watch else _once(args.outputs, settings)
    except KeyboardInterrupt:
        print("mirror: interrupted; nothing is half-taken, and the same command goes on", file=sys.stderr)
        return 130


def _once(outputs: Path, settings: Settings) -> int:
    try:
        brought = mirror(outputs, settings, _progress)
    except OSError as error:
        _say(f"{settings.to} {_reason(error)}")
        return 1
    _say(f"{', '.join(_named(brought)) if brought else 'nothing new'}; all of {outputs} is in {settings.to}")
    return 0


def _watch(outputs: Path, settings: Settings) -> int:
    """Mirror until training has ended and nothing is left, or Drive has been in trouble for too long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops training, which then closes our standard input
    os.nice(10)
    trouble, ended, since = "", False, time.monotonic()
    while True:
        try:
            brought = [name for name in mirror(outputs, settings) if not is_small(name)]
            if trouble:
                _say(f"{settings.to} is back")
            elif brought:
                _say(f"{', '.join(_named(brought))} {'are' if len(brought) > 1 else 'is'} in {settings.to}")
            trouble = ""
        except OSError as error:
            if (reason := _reason(error)) != trouble:
                _say(f"{settings.to} {reason}. {'' if ended else 'Training goes on; '}trying again")
            trouble = reason
        if ended and (not trouble or time.monotonic() - since > PATIENCE):
            return _last_word(outputs, settings, trouble)
        if ended:
            time.sleep(RETRY)
        elif select.select([0], [], [], RETRY if trouble else EVERY)[0] and not os.read(0, 1 << 16):
            ended, since = True, time.monotonic()


def _last_word(outputs: Path, settings: Settings, trouble: str) -> int:
    if not trouble:
        return 0
    try:
        left = ", ".join(_named(unmirrored(outputs, Path(settings.to))))
    except OSError:
        left = "what was saved last"
    _say(f"{left or 'nothing'} could not be mirrored. When {settings.to} is back: python -m preflight.mirror {outputs}")
    return 1


def _reason(error: OSError) -> str:
    number = f" (Errno {error.errno})" if error.errno else ""
    return f"{TROUBLE.get(error.errno or 0, error.strerror or str(error))}{number}"


def _named(names: list[str]) -> list[str]:
    small = sum(is_small(name) for name in names)
    named = ["the final adapter" if name == FINAL else name for name in names if not is_small(name)]
    return named + [f"{small} small file{'s' * (small > 1)}"] * bool(small)


def _say(text: str) -> None:
    print(f"mirror: {text}", file=sys.stderr, flush=True)


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[Kmirror: {what} {done / max(1, total):.0%}" + ("\r\033[K" if done >= total else ""), end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
