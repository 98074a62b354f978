"""The command line of TensorBoard's background process: `python -m preflight.tensorboard {start,stop} FOLDER`."""

import argparse
from functools import partial
from pathlib import Path

from preflight.cli.console import EXIT_ERROR, guarded, show
from preflight.files import quoted
from preflight.launch.tensorboard import start, stop


def main(argv: list[str] | None = None) -> int:
    """Start or stop; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.tensorboard",
        description="TensorBoard in the background, once for each folder. It shows what training has written so far, and every earlier session's curves.",
    )
    parser.add_argument("what", choices=("start", "stop"))
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a run's outputs, for example /content/runs/mistral_qlora/outputs")
    args = parser.parse_args(argv)
    return guarded("tensorboard", partial(_stop if args.what == "stop" else _start, args.folder))


def _stop(folder: Path) -> int:
    show("stopped" if stop(folder) else f"no TensorBoard shows {folder}")
    return 0


def _start(folder: Path) -> int:
    board, problem = start(folder)
    if board is None:
        show(f"tensorboard: {problem}", error=True)
        return EXIT_ERROR
    show(f"{'started' if board.started else 'already running'}: http://localhost:{board.port} shows {folder}")
    show(f"in a notebook: {board.cell}")
    show(f"to stop it: python -m preflight.tensorboard stop {quoted(folder)}")
    return 0
