"""Write what the sample data and the smoke base are made of: `python -m sample_data {rows,base} FOLDER`."""

import argparse
from pathlib import Path

from sample_data import base, generate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sample_data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{rows,base}")
    rows = commands.add_parser("rows", help="the question/answer rows, in the text form and the messages form")
    rows.add_argument("folder", type=Path, nargs="?", default=Path("sample_data"), help="default: sample_data")
    untrained = commands.add_parser("base", help="the untrained smoke base and the corpus it is to learn (scripts/build_smoke_base.sh trains it)")
    untrained.add_argument("folder", type=Path)
    args = parser.parse_args()

    written = generate.write_rows(args.folder) if args.command == "rows" else base.write_untrained(args.folder)
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
