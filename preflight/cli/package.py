"""The command line of the packing: `scripts/package_data.sh [DIR [OUT]]`."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from preflight.cli.console import EXIT_ERROR, guarded, progress_line, show, show_findings
from preflight.data.archives import TooLargeError, pack
from preflight.data.audit import check_file, check_overlap, share_measured
from preflight.data.duplicates import RowDigests
from preflight.data.formats import SUFFIXES, is_seekable
from preflight.data.prompt_strategies.base import PromptStrategy
from preflight.data.rows import guess_from
from preflight.data.scan import Chunk, FileScan, scan_file
from preflight.data.schema_split import check_split, split_by_schema, write_split
from preflight.data.sql_runs import Limits, SqlAnswers, run_answers
from preflight.data.staging import SHOWN
from preflight.files import read_content
from preflight.findings import Finding

NAMES = ("train_postgres.jsonl", "val_postgres.jsonl", "test_postgres.jsonl")
GROUPS = ("datasets", "test_datasets", "")  # of the names, as `check_overlap` takes them
DESCRIPTION = "Packs your rows into one zip for Colab, after checking them as preflight will. The same rows give the same bytes."
EPILOG = """examples:
  scripts/package_data.sh                         data/processed -> data.zip
  scripts/package_data.sh my_rows my_rows.zip
  scripts/package_data.sh my_rows --config axolotl_configs/mistral_qlora_instruct.yaml     rows in columns of any name
  scripts/package_data.sh my_rows --limit-mb 1000
  scripts/package_data.sh my_rows --split-by-schema     where a random split has the same databases on both sides

exit code: 0 packed, 1 the rows have errors or the zip is too large, 2 wrong usage, 130 interrupted"""


def main(argv: list[str] | None = None) -> int:
    """Check and pack; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/package_data.sh", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/processed"), metavar="DIR", help="holds " + ", ".join(NAMES))
    parser.add_argument("out", type=Path, nargs="?", default=Path("data.zip"), metavar="OUT", help="the zip to write (default data.zip)")
    parser.add_argument("--config", type=Path, metavar="YAML", help="read the rows as this config does (default: as their first one looks)")
    parser.add_argument("--split-by-schema", action="store_true", help="split the rows anew first: no database in two of the files")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="of that split (default 42)")
    parser.add_argument("--limit-mb", type=int, default=500, metavar="N", help="refuse a larger zip (default 500)")
    args = parser.parse_args(argv)
    seed = args.seed if args.split_by_schema else None
    return guarded("package_data", partial(_pack_all, args.folder, args.out, args.limit_mb, seed, args.config))


def _pack_all(folder: Path, out: Path, limit_mb: int, seed: int | None, config: Path | None) -> int:
    """Pack the files as they are, or, with a seed, their rows split anew."""
    try:
        read_as, findings = _strategies(config) if config else ({}, [])
    except ModuleNotFoundError as error:
        return _refuse(f"--config needs the Python package {error.name}: scripts/setup.sh installs all; or leave --config out")
    if findings:
        show_findings(findings, sys.stderr)
        return _refuse("nothing packed; fix the errors above first")
    if seed is None:
        return _pack(folder, out, limit_mb, read_as)
    files = [folder / name for name in NAMES if (folder / name).is_file()]
    try:
        if len(files) < 2 or not all(is_seekable(path, "json") for path in files):
            return _refuse(f"--split-by-schema needs {NAMES[0]} and {NAMES[1]} of JSON lines in {folder}, and {NAMES[2]} where there is one")
        seen = _look(files, read_as)
        digests = [one for _, one in seen.digests]
        split = split_by_schema(digests, seed)
        findings = [one for one in seen.findings if one.level == "error" and one.code != "data.leakage"] + check_split(split, digests)
        if findings:
            show_findings(findings, sys.stderr)
            return _refuse("nothing split; fix the errors above first")
        with tempfile.TemporaryDirectory(prefix=".split-", dir=out.absolute().parent) as anew:
            write_split(split, files, Path(anew))
            code = _pack(Path(anew), out, limit_mb, read_as)
    except OSError as error:
        return _refuse(f"{error.filename or out}: {error.strerror}")
    show("\n".join([f"\nsplit by schema, seed {seed}:", *split.shares()]))
    if split.alone:
        show(f"{split.alone:,} rows show no CREATE TABLE: those that ask the same were kept together")
    return code


def _pack(folder: Path, out: Path, limit_mb: int, read_as: Mapping[str, PromptStrategy]) -> int:
    files = [folder / name for name in NAMES if (folder / name).is_file()]
    missing = [name for name in NAMES[:2] if folder / name not in files]
    if missing:
        there = ", ".join(sorted(path.name for path in folder.glob("*") if path.name.endswith(SUFFIXES))[:SHOWN]) or "no rows"
        ways = "Name the folder of your rows: scripts/package_data.sh DIR; or give the files these names"
        return _refuse(f"{folder} holds no {' and no '.join(missing)}, but {there}. {ways}")
    try:
        seen = _look(files, read_as)
        answers = seen.run()
        findings = seen.findings + check_overlap(seen.digests)
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
        show(f"{file.name:<24}{seen.scans[file].rows:>12,} rows{file.stat().st_size / 1e6:>12,.1f} MB")
    if answers:
        show(f"\nSQL answers: {answers.text}")
    show(f"\n{out}  {out.stat().st_size / 1e6:,.1f} MB, sha256 {digest}\n")
    show(_ways(out, digest))
    return 0


def _refuse(why: str) -> int:
    show(f"package_data: {why}", error=True)
    return EXIT_ERROR


def _strategies(config: Path) -> tuple[dict[str, PromptStrategy], list[Finding]]:
    """How a config reads its training and validation rows, by group, or what is wrong with it."""
    from preflight.config.values import dataset_entries  # what needs a package beside Python is imported where it is asked for
    from preflight.config.yaml_file import read_yaml
    from preflight.data.prompt_strategies import find_strategy

    file, findings = read_yaml(config)
    if file is None:
        return {}, findings
    read_as: dict[str, PromptStrategy] = {}
    for key, entry in dataset_entries(file.values):
        if strategy := find_strategy(entry, file.values):
            read_as.setdefault(key.partition(".")[0], strategy)
        else:
            message = "rows of this type are not judged here, only by Axolotl"
            findings.append(Finding(code="data.not-judged", level="error", where=f"{config} $.{key}", message=message, fix="leave --config out"))
    if "datasets" in read_as:
        read_as |= {group: read_as.get(group, read_as["datasets"]) for group in GROUPS}
    return read_as, findings


@dataclass(kw_only=True)
class _Seen:
    """What preflight would find in the rows of each file without a tokenizer."""

    findings: list[Finding] = field(default_factory=list)
    scans: dict[Path, FileScan] = field(default_factory=dict)
    digests: list[tuple[str, RowDigests]] = field(default_factory=list)

    def run(self) -> SqlAnswers | None:
        """Add what the answers do on the tables of their prompts."""
        asked = {path: scan.asked for path, scan in self.scans.items()}
        counts = {path: scan.answers for path, scan in self.scans.items()}
        answers, found = run_answers(asked, counts, _limits(), progress_line)
        self.findings += found
        return answers


def _limits() -> Limits:
    """What colab_setup.yaml allows, where it can be read."""
    try:
        from preflight.config.settings import read_settings  # needs packages beside Python

        settings, _ = read_settings()
    except ModuleNotFoundError:
        return Limits()
    return Limits(settings.data.sql_fails_warning, settings.data.sql_fails_error) if settings else Limits()


def _look(files: list[Path], read_as: Mapping[str, PromptStrategy]) -> _Seen:
    """What is in each file, read as a config does, where there is one, else as its first row looks. Raises OSError."""
    seen = _Seen()
    lines = {path: read_content(path).lines if is_seekable(path, "json") else 0 for path in files}
    strategy = None
    for path in files:
        group = GROUPS[NAMES.index(path.name)]
        strategy = read_as.get(group) or strategy or guess_from(path)
        if strategy is None:
            message = "its first row has no column text, messages, or instruction and output"
            fix = "write rows of one of these shapes, or give the config that reads them: --config YAML"
            return _Seen(findings=[Finding(code="data.bad-row", level="error", where=f"{path}:1", message=message, fix=fix)])
        share = share_measured(sum(lines.values()), lines[path])
        scan = seen.scans[path] = scan_file(Chunk(path=path, strategy=strategy, share=share), None, "", progress_line)
        seen.findings += check_file(path, scan, None)
        seen.digests.append((group, scan.digests))
    return seen


def _ways(out: Path, digest: str) -> str:
    zip_, sums = shlex.quote(str(out)), shlex.quote(f"{out}.sha256")
    return f"""Bring it to Colab in one of three ways:

1. Google Drive: upload {out.name} and {out.name}.sha256 to My Drive/sql-codegen-data; preflight finds them there.

2. A GitHub release, in a repository of yours:
     gh release create data-v1 {zip_} {sums} --title "SQL rows" --notes "rows for sql-codegen-slm"
   then, in Colab:
     python -m preflight --data https://github.com/YOU/REPOSITORY/releases/download/data-v1/{out.name}

3. Any https address that serves the two files: --data as above. Elsewhere, give it the checksum: --sha256 {digest}"""
