"""The command line of TensorBoard's background process: `python -m preflight.tensorboard {start,stop} FOLDER`."""

import argparse
import sys
from pathlib import Path

from preflight.tensorboard import start, stop


def main(argv: list[str] | None = None) -> int:
    """Start or stop; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m preflight.tensorboard",
        description="TensorBoard in the background, once for each folder. It shows what training has written so far, and every earlier session's curves.",
    )
    parser.add_argument("what", choices=("start", "stop"))
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a run's outputs, for example /content/runs/mistral_qlora/outputs")
    args = parser.parse_args(argv)
    if args.what == "stop":
        print("stopped" if stop(args.folder) else f"no TensorBoard shows {args.folder}")
        return 0
    board, problem = start(args.folder)
    if board is None:
        print(f"tensorboard: {problem}", file=sys.stderr)
        return 1
    print(f"{'started' if board.started else 'already there'}: http://localhost:{board.port} shows {args.folder}")
    print(f"in a notebook:\n{board.magic}")
    print(f"to stop it: python -m preflight.tensorboard stop {args.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
