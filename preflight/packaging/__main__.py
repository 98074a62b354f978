"""The command line of the packing: `scripts/package_data.sh [DIR [OUT]]`."""

import argparse
import shlex
import sys
from pathlib import Path

from preflight.archives import TooLargeError, pack
from preflight.findings import Finding
from preflight.looking import Stretch, look_through
from preflight.overlap import Seen, check_duplicates, check_leakage
from preflight.rows import Shape, check_near_empty, check_rows, guess_shape
from preflight.sql import check_sql

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130
NAMES = ("train_postgres.jsonl", "val_postgres.jsonl", "test_postgres.jsonl")
DESCRIPTION = "Packs your rows into one zip for Colab, after checking them as preflight will. The same rows give the same bytes."
EPILOG = """examples:
  scripts/package_data.sh                         data/processed -> data.zip
  scripts/package_data.sh my_rows my_rows.zip
  scripts/package_data.sh my_rows --limit-mb 1000

exit code: 0 packed, 1 the rows have errors or the zip is too large, 2 wrong usage, 130 interrupted"""


def main(argv: list[str] | None = None) -> int:
    """Check and pack; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/package_data.sh", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/processed"), metavar="DIR", help="holds " + ", ".join(NAMES))
    parser.add_argument("out", type=Path, nargs="?", default=Path("data.zip"), metavar="OUT", help="the zip to write (default data.zip)")
    parser.add_argument("--limit-mb", type=int, default=500, metavar="N", help="refuse a larger zip (default 500)")
    args = parser.parse_args(argv)
    try:
        return _pack(args.folder, args.out, args.limit_mb)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is half-written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        print(f"package_data: {error.filename or args.out}: {error.strerror}", file=sys.stderr)
        return EXIT_ERROR


def _pack(folder: Path, out: Path, limit_mb: int) -> int:
    files = [folder / name for name in NAMES if (folder / name).is_file()]
    missing = [name for name in NAMES[:2] if folder / name not in files]
    if missing:
        print(
            f"package_data: {folder} holds no {' and no '.join(missing)}. Name the folder of your rows: scripts/package_data.sh DIR", file=sys.stderr
        )
        return EXIT_ERROR
    findings, counts = _check(files)
    for finding in findings:
        print(f"{finding.level} {finding.code}  {finding.where}\n  {finding.message}\n  mend: {finding.fix}\n", file=sys.stderr)
    if any(finding.level == "error" for finding in findings):
        print("package_data: nothing packed; mend the errors above first", file=sys.stderr)
        return EXIT_ERROR

    try:
        digest = pack(files, out, limit_mb * 1_000_000, _progress)
    except TooLargeError as error:
        print(
            f"package_data: {error.args[0] / 1e6:,.1f} MB, more than the limit of {limit_mb} MB. Shorten the schemas in the longest rows, or drop rows; "
            "or raise the limit: --limit-mb N (a GitHub release takes 2 GB, Drive what you pay for)",
            file=sys.stderr,
        )
        return EXIT_ERROR
    for file in files:
        print(f"{file.name:<24}{counts[file]:>12,} rows{file.stat().st_size / 1e6:>12,.1f} MB")
    print(f"\n{out}  {out.stat().st_size / 1e6:,.1f} MB, sha256 {digest}\n")
    print(_ways(out, digest))
    return 0


def _check(files: list[Path]) -> tuple[list[Finding], dict[Path, int]]:
    """What preflight would find in the rows without a tokenizer, and how many there are in each file."""
    findings: list[Finding] = []
    counts: dict[Path, int] = {}
    seen: list[Seen] = []
    shape: Shape | None = None
    for path in files:
        shape = shape or guess_shape(path)
        if shape is None:
            message = "its first row has no column text, messages, or instruction and output"
            return [Finding(code="data.bad-row", level="error", where=f"{path}:1", message=message, fix="write rows of one of these shapes")], {}
        look = look_through(Stretch(path=path, shape=shape), None, "", _progress)
        findings += check_rows(path, look.problems, look.bad) + check_near_empty(path, look.near_empty)
        findings += check_sql(path, look.parsed, look.refused, look.not_sql)
        counts[path] = look.rows
        seen.append(look.seen)
    train, *held_out = seen
    return findings + check_duplicates(seen) + check_leakage([train], held_out), counts


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        share = f"{done / total:.0%}" if total else f"{done:,}"
        print(f"\r\033[K{what} {share}", end="" if not total or done < total else "\r\033[K", file=sys.stderr, flush=True)


def _ways(out: Path, digest: str) -> str:
    zip_, sums = shlex.quote(str(out)), shlex.quote(f"{out}.sha256")
    return f"""Bring it to Colab in one of three ways:

1. Google Drive: upload {out.name} and {out.name}.sha256 to My Drive/sql-codegen-data; preflight finds them there.

2. A GitHub release, in a repository of yours:
     gh release create data-v1 {zip_} {sums} --title "SQL rows" --notes "rows for sql-codegen-slm"
   then, in Colab:
     python -m preflight --data https://github.com/YOU/REPOSITORY/releases/download/data-v1/{out.name}

3. Any https address that serves the two files: --data as above. Elsewhere, give it the sum: --sha256 {digest}"""


if __name__ == "__main__":
    raise SystemExit(main())
