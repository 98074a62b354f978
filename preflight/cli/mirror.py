"""The mirror as a process of its own, so that a Drive that hangs can't hold training up: `python -m preflight.mirror OUTPUTS`."""

import argparse
import errno
import os
import select
import signal
import time
from functools import partial
from pathlib import Path

from preflight.checkpoints.copies import ForeignError, title
from preflight.checkpoints.mirror import LOCK, MirrorSettings, is_small, mirror, read_settings, unmirrored
from preflight.checkpoints.progress import Said, tell
from preflight.cli.console import EXIT_ERROR, EXIT_USAGE, guarded, progress_line, show
from preflight.files import exclusive_lock, quoted
from preflight.machine.answering import answering

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
    errno.EEXIST: "holds something that is not of this run and is left as it is; choose another output_dir",
    errno.ETIMEDOUT: "does not answer; mount it again (cell 2 of the notebook)",
    errno.EIO: "answers with input/output errors, as it does when a quota is used up",
}


def main(argv: list[str] | None = None) -> int:
    """Mirror what is finished; return 0 if nothing is left."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.mirror",
        description="Copies what a run has finished to its Drive folder: checkpoints, the final adapter, TensorBoard's events. Preflight does it too.",
    )
    parser.add_argument("outputs", type=Path, metavar="OUTPUTS", help="the run's outputs, for example /content/runs/mistral_qlora/outputs")
    parser.add_argument("--watch", action="store_true", help="continue until standard input is closed: how training starts it")
    args = parser.parse_args(argv)
    return guarded("mirror", partial(_mirror, args.outputs, watch=args.watch))


def _mirror(outputs: Path, *, watch: bool) -> int:
    settings = read_settings(outputs.parent)
    if settings is None:
        _say(f"{outputs.parent} is no run of the kit: run preflight first")
        return EXIT_USAGE
    if not settings.to:
        _say("colab_setup.yaml says drive.backup: false, so nothing is mirrored")
        return 0
    with exclusive_lock(outputs.parent / LOCK, wait=True):
        return _watch(outputs, settings) if watch else _once(outputs, settings)


def _once(outputs: Path, settings: MirrorSettings) -> int:
    try:
        brought = answering(mirror, settings.to, progress=progress_line)(outputs, settings, progress_line)
    except OSError as error:
        _say(f"{settings.to} {_reason(error)}")
        return EXIT_ERROR
    _say(f"{', '.join(_named(brought)) if brought else 'nothing new'}; all of {outputs} is in {settings.to}")
    return 0


def _watch(outputs: Path, settings: MirrorSettings) -> int:
    """Mirror until training has ended and nothing is left, or Drive has been in trouble for too long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops training, which then closes our standard input
    os.nice(10)
    say = partial(_tell, outputs)
    trouble, lasting, ended, since = "", False, False, time.monotonic()
    verified = set[int]()
    while True:
        try:
            bring = answering(mirror, settings.to)
            names = bring(outputs, settings, verified=frozenset(verified), on_verified=verified.add)
            brought = [name for name in names if not is_small(name)]
            if trouble:
                say(f"{settings.to} is back")
            elif brought:
                say(f"{', '.join(_named(brought))} {'are' if len(brought) > 1 else 'is'} in {settings.to}")
            trouble, lasting = "", False
        except OSError as error:
            if (reason := _reason(error)) != trouble:
                say(f"{settings.to} {reason}. {'' if ended else 'Training continues; '}retrying")
            trouble, lasting = reason, isinstance(error, ForeignError)  # which no waiting changes
        if ended and (not trouble or lasting or time.monotonic() - since > PATIENCE):
            return _last_word(outputs, settings, trouble)
        if ended:
            time.sleep(RETRY)
        elif select.select([0], [], [], RETRY if trouble else EVERY)[0] and not os.read(0, 1 << 16):
            ended, since = True, time.monotonic()


def _last_word(outputs: Path, settings: MirrorSettings, trouble: str) -> int:
    if not trouble:
        return 0
    try:
        left = ", ".join(_named(answering(unmirrored, settings.to)(outputs, Path(settings.to))))
    except OSError:
        left = "what was saved last"
    _tell(outputs, f"{left or 'nothing'} could not be mirrored. When {settings.to} is back: python -m preflight.mirror {quoted(outputs)}")
    return 1


def _reason(error: OSError) -> str:
    number = f" (Errno {error.errno})" if error.errno else ""
    place = f": {error.filename}" if isinstance(error, ForeignError) else ""
    return f"{TROUBLE.get(error.errno or 0, error.strerror or str(error))}{place}{number}"


def _named(names: list[str]) -> list[str]:
    small = sum(is_small(name) for name in names)
    named = [title(name) for name in names if not is_small(name)]
    return named + [f"{small} small file{'s' * (small > 1)}"] * bool(small)


def _say(text: str) -> None:
    show(f"mirror: {text}", error=True)


def _tell(outputs: Path, text: str) -> None:
    """To the log of training, and to whoever shows the run."""
    _say(text)
    tell(outputs.parent, Said(text=f"mirror: {text}"))
