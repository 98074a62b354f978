"""The command line of the packing: `scripts/package_data.sh [DIR [OUT]]`."""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from preflight.cli.console import EXIT_ERROR, guarded, progress_line, show, show_findings
from preflight.data.archives import TooLargeError, pack
from preflight.data.audit import check_file, check_overlap
from preflight.data.duplicates import RowDigests
from preflight.data.formats import SUFFIXES
from preflight.data.rows import guess_from
from preflight.data.scan import Chunk, scan_file
from preflight.data.staging import SHOWN
from preflight.findings import Finding

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
    return guarded("package_data", partial(_pack, args.folder, args.out, args.limit_mb))


def _pack(folder: Path, out: Path, limit_mb: int) -> int:
    files = [folder / name for name in NAMES if (folder / name).is_file()]
    missing = [name for name in NAMES[:2] if folder / name not in files]
    if missing:
        there = ", ".join(sorted(path.name for path in folder.glob("*") if path.name.endswith(SUFFIXES))[:SHOWN]) or "no rows"
        ways = "Name the folder of your rows: scripts/package_data.sh DIR; or give the files these names"
        return _refuse(f"{folder} holds no {' and no '.join(missing)}, but {there}. {ways}")
    try:
        findings, counts = _check(files)
        show_findings(findings, sys.stderr)
        if any(finding.level == "error" for finding in findings):
            return _refuse("nothing packed; fix the errors above first")
        digest = pack(files, out, limit_mb * 1_000_000, progress_line)
    except TooLargeError as error:
        shorter = "Shorten the schemas in the longest rows, or drop rows; or raise the limit: --limit-mb N (a GitHub release takes 2 GB, Drive what you pay for)"
        return _refuse(f"{error.args[0] / 1e6:,.1f} MB, more than the limit of {limit_mb} MB. {shorter}")
    except OSError as error:
        return _refuse(f"{error.filename or out}: {error.strerror}")
    for file in files:
        show(f"{file.name:<24}{counts[file]:>12,} rows{file.stat().st_size / 1e6:>12,.1f} MB")
    show(f"\n{out}  {out.stat().st_size / 1e6:,.1f} MB, sha256 {digest}\n")
    show(_ways(out, digest))
    return 0


def _refuse(why: str) -> int:
    show(f"package_data: {why}", error=True)
    return EXIT_ERROR


def _check(files: list[Path]) -> tuple[list[Finding], dict[Path, int]]:
    """What preflight would find in the rows without a tokenizer, and how many there are in each file. Raises OSError."""
    findings: list[Finding] = []
    counts: dict[Path, int] = {}
    digests: list[tuple[str, RowDigests]] = []
    strategy = None
    for path in files:
        strategy = strategy or guess_from(path)
        if strategy is None:
            message = "its first row has no column text, messages, or instruction and output"
            return [Finding(code="data.bad-row", level="error", where=f"{path}:1", message=message, fix="write rows of one of these shapes")], {}
        scan = scan_file(Chunk(path=path, strategy=strategy), None, "", progress_line)
        findings += check_file(path, scan, None)
        counts[path] = scan.rows
        digests.append(("test_datasets" if digests else "datasets", scan.digests))
    return findings + check_overlap(digests), counts


def _ways(out: Path, digest: str) -> str:
    zip_, sums = shlex.quote(str(out)), shlex.quote(f"{out}.sha256")
    return f"""Bring it to Colab in one of three ways:

1. Google Drive: upload {out.name} and {out.name}.sha256 to My Drive/sql-codegen-data; preflight finds them there.

2. A GitHub release, in a repository of yours:
     gh release create data-v1 {zip_} {sums} --title "SQL rows" --notes "rows for sql-codegen-slm"
   then, in Colab:
     python -m preflight --data https://github.com/YOU/REPOSITORY/releases/download/data-v1/{out.name}

3. Any https address that serves the two files: --data as above. Elsewhere, give it the checksum: --sha256 {digest}"""
