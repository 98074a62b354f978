"""Files, folders and splits: the very rows that the real Axolotl loads, or an error where it dies."""

import bz2
import gzip
import json
import lzma
import sys
import zipfile
from dataclasses import replace

import pytest

from preflight.config.settings import Rows
from preflight.data import formats
from preflight.data.audit import audit_rows
from preflight.data.prompt_strategies import find_strategy
from preflight.data.rows import read_rows
from preflight.data.scan import Chunk, scan_file
from preflight.data.sources import find_data
from preflight.data.stage import _stage
from preflight.data.staging import bring, inspect_source
from preflight.findings import Diagnostics
from preflight.machine.workspace import find_workspace
from tests.conftest import CHECKOUT

ROWS = [{"text": f'[INST] q{i}, "it"\nline two [/INST] SELECT {i} FROM t;'} for i in range(25)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TEXT = find_strategy({"type": "completion"})


def csv(rows=ROWS):
    return "text,n\n" + "".join('"{}",{}\n'.format(row["text"].replace('"', '""'), i) for i, row in enumerate(rows))


def zstd(content):
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


def table(name, write):
    def make(path):
        import pyarrow as pa

        write(pa.table({"text": [row["text"] for row in ROWS], "n": list(range(25))}), path)

    return name, make


def parquet(rows, path):
    from pyarrow import parquet as pq

    pq.write_table(rows, path, row_group_size=10)


def arrow(rows, path):
    import pyarrow as pa

    with pa.ipc.new_stream(path, rows.schema) as writer:
        writer.write_table(rows)


FILES = {
    "lines": ("a.jsonl", LINES),
    "lines, and blank ones": ("a.json", b"\n" + LINES.replace(b"\n", b"\n\n")),
    "a byte order mark": ("a.jsonl", b"\xef\xbb\xbf" + LINES),
    "a list": ("a.json", json.dumps(ROWS).encode()),
    "a list over lines": ("a.jsonl", json.dumps(ROWS, indent=1).encode()),
    "a list of texts": ("a.json", json.dumps([row["text"] for row in ROWS]).encode()),
    "objects over lines": ("a.json", "\n".join(json.dumps(row, indent=1) for row in ROWS).encode()),
    "gzip": ("a.jsonl.gz", gzip.compress(LINES)),
    "gzip, and a list": ("a.json.gz", gzip.compress(json.dumps(ROWS).encode())),
    "gzip by another name": ("a.jsonl", gzip.compress(LINES)),
    "bzip2": ("a.jsonl.bz2", bz2.compress(LINES)),
    "xz": ("a.jsonl.xz", lzma.compress(LINES)),
    "zstandard": ("a.jsonl.zst", zstd(LINES)),
    "csv": ("a.csv", csv().encode()),
    "csv by ds_type": ("a.data.jsonl", csv().encode(), {"ds_type": "csv"}),
    "csv, compressed": ("a.csv.gz", gzip.compress(csv().encode())),
    "csv in the name of a folder": ("my.csv.files/a.jsonl", csv().encode()),
    "json by ds_type": ("a.csv", LINES, {"ds_type": "json"}),
    "parquet": table("a.parquet", parquet),
    "arrow": table("a.arrow", arrow),
    "text": ("a.txt", b"[INST] a [/INST] SELECT 1\nSELECT 2\r\nSELECT 3"),
    "a tenth": ("a.jsonl", LINES, {"split": "train[:10%]"}),
    "the last five": ("a.jsonl", LINES, {"split": "train[-5:]"}),
    "two stretches": ("a.jsonl", LINES, {"split": "train[3:5]+train[90%:]"}),
    "a tenth of a table": (*table("a.parquet", parquet), {"split": "train[50%:70%]"}),
}
REFUSED = {
    "csv that is called lines": ("a.jsonl", csv().encode()),
    "lines that are called csv": ("a.parquet", LINES),
    "a list behind a blank": ("a.json", b" " + json.dumps(ROWS).encode()),
    "a list that is cut off": ("a.json", json.dumps(ROWS).encode()[:-9]),
    "gzip that is cut off": ("a.jsonl.gz", gzip.compress(LINES)[:-40]),
    "more cells than columns": ("a.csv", b"text\na\nb,c\n"),
    "another encoding": ("a.csv", "text\nä\n".encode("latin-1")),
    "numbers": ("a.csv", b"text,n\n1,2\n3,4\n"),
    "nothing, to pandas": ("a.csv", b"text,n\nNULL,2\nabc,4\n"),
    "a split that a file has not": ("a.jsonl", LINES, {"split": "test"}),
    "no row": ("a.jsonl", LINES, {"split": "train[:1%]"}),
}


def written(folder, name, content, entry=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    return {"path": str(path), "type": "completion"} | (entry or {})


def quiet(what, done, total):
    pass


def looked_through(values, folder):
    """The files that a config names, as they are read, and all that is found."""
    workspace = find_workspace(folder / "workspace", environ={})
    places = Rows(
        source="drive", drive_folder="/content/drive/rows", folder="/content/data", test_file="", disk_gb=1, sql_fails_warning=0, sql_fails_error=0.1
    )
    files, findings = find_data(values, workspace, places, None)
    staged, findings = [], list(findings)
    for file in files:
        rows, more = bring([inspect_source(file.source, file)], file.staged.parent, copy=False, missing="error", progress=quiet)
        staged += [rows] if rows else []
        findings += more
    lengths, more = audit_rows(values | {"base_model": str(CHECKOUT / "sample_data/smoke_base"), "sequence_len": 512}, files, staged, quiet)
    return files, lengths, findings + more


def texts(files):
    """The texts that the files of one entry hold, cut as the entry says."""
    from preflight.data.folders import stretches

    every = [row.text for file in files for row in read_rows(file.staged, TEXT, kind=file.kind)]
    return [text for start, end in stretches(files[0].cuts, 0, len(every), len(every)) for text in every[start:end]]


def errors(findings):
    return [finding.code for finding in findings if finding.level == "error"]


def test_files_are_read_as_axolotl_reads_them(axolotl, tmp_path):
    entries = {name: written(tmp_path / str(number), *case) for number, (name, case) in enumerate(FILES.items())}
    answers = dict(zip(entries, axolotl.ask("loaded", entries=list(entries.values()), group="train"), strict=True))
    for name, entry in entries.items():
        files, lengths, findings = looked_through({"datasets": [entry]}, tmp_path)
        assert (answers[name]["error"], errors(findings)) == ("", []), name
        expected = [row["text"] for row in answers[name]["rows"]]
        assert texts(files) == expected, name
        assert (lengths.train[0].rows, len(lengths.train[0].measured)) == (len(expected), len(expected)), name


def test_what_axolotl_dies_of_is_an_error(axolotl, tmp_path):
    entries = {name: written(tmp_path / str(number), *case) for number, (name, case) in enumerate(REFUSED.items())}
    answers = axolotl.ask("loaded", entries=list(entries.values()), group="train")
    for (name, entry), answer in zip(entries.items(), answers, strict=True):
        assert answer["error"] or not all(isinstance(row["text"], str) for row in answer["rows"]), name
        findings = looked_through({"datasets": [entry]}, tmp_path)[2]
        assert set(errors(findings)) & {"data.bad-row", "data.not-loaded"}, name
        assert len(errors(findings)) == 1, name


FOLDERS = {
    "no splits": ("a.jsonl b.jsonl .hidden.jsonl README.md", {}),
    "by name": ("train.jsonl validation.jsonl test.jsonl", {}),
    "by more of the name": ("train_postgres.jsonl val_postgres.jsonl", {"split": "validation"}),
    "by folder": ("train/a.jsonl dev/train.jsonl", {}),
    "a word within a word": ("mytrain.jsonl valset.jsonl", {}),
    "shards": ("data/train-00000-of-00001.jsonl test.jsonl", {}),
    "a part of a split": ("train-1.jsonl train-2.jsonl eval.jsonl", {"split": "train[40%:]"}),
    "no such split": ("train.jsonl", {"split": "validation"}),
    "none for the validation rows": ("train.jsonl validation.jsonl", {"group": "test"}),
    "the test rows": ("train.jsonl eval.jsonl", {"group": "test"}),
    "named": ("a.jsonl b.jsonl", {"data_files": ["b.jsonl"]}),
    "named, for validation": ("a.jsonl b.jsonl", {"data_files": "b.jsonl", "group": "test"}),
    "named, and a split": ("a.jsonl b.jsonl", {"data_files": ["b.jsonl", "a.jsonl"], "split": "train[3:]"}),
}


@pytest.mark.parametrize("group", ["train", "test"])
def test_folders_are_read_as_axolotl_reads_them(axolotl, tmp_path, group):
    """The same rows in the same order, or both stop."""
    cases = {name: (names, dict(entry)) for name, (names, entry) in FOLDERS.items() if entry.get("group", "train") == group}
    entries = {}
    for number, (name, (names, entry)) in enumerate(cases.items()):
        entry.pop("group", None)
        folder = tmp_path / str(number)
        for count, file in enumerate(names.split(), 4):
            written(folder, file, "".join(json.dumps({"text": f"{file} {i}"}) + "\n" for i in range(count)).encode())
        if named := entry.get("data_files"):
            entry["data_files"] = str(folder / named) if isinstance(named, str) else [str(folder / one) for one in named]
        entries[name] = {"path": str(folder), "type": "completion"} | entry
    answers = axolotl.ask("loaded", entries=list(entries.values()), group=group)
    for (name, entry), answer in zip(entries.items(), answers, strict=True):
        values = {"datasets": [entry]} if group == "train" else {"datasets": [], "test_datasets": [entry]}
        files, lengths, findings = looked_through(values, tmp_path)
        if answer["error"]:
            assert "data.not-loaded" in errors(findings), name
            continue
        expected = [row["text"] for row in answer["rows"]]
        assert texts(files) == expected, name
        assert [one.rows for one in (*lengths.train, *lengths.held_out)] == [len(expected)], name


def test_a_folder_without_rows_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    written(tmp_path / "hidden", ".a.jsonl", LINES)
    for path, code in (("empty", "data.not-loaded"), ("./empty", "data.missing"), ("hidden", "data.not-loaded"), ("./gone", "data.missing")):
        assert code in errors(looked_through({"datasets": [{"path": path, "type": "completion"}]}, tmp_path)[2]), path


@pytest.mark.parametrize("case", ["a.jsonl", "a.csv"])
def test_data_files_beside_a_path_that_is_no_folder(tmp_path, monkeypatch, case):
    """`path: json`, as datasets itself takes it, is a data set of the hub to Axolotl; and data_files are not looked for in the folder."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "rows", case, LINES)
    for path, named in (("json", f"rows/{case}"), ("rows", [case])):
        (finding,) = find_data({"datasets": [{"path": path, "data_files": named, "type": "completion"}]}, find_workspace(tmp_path), places(), None)[1]
        assert (finding.code, finding.level) == ("data.not-loaded", "error")
        assert f"rows/{case}" in finding.fix


def places():
    return Rows(
        source="drive", drive_folder="/content/drive/rows", folder="/content/data", test_file="", disk_gb=1, sql_fails_warning=0, sql_fails_error=0.1
    )


def test_what_can_not_be_read_here_is_not_judged(tmp_path, monkeypatch):
    """A package that is missing, an archive, a folder of save_to_disk, a format of its own."""
    with zipfile.ZipFile(tmp_path / "a.jsonl", "w") as archive:
        archive.writestr("b.jsonl", LINES)
    cases = [
        {"path": str(tmp_path / "a.jsonl")},
        written(tmp_path, "b.jsonl", LINES) | {"ds_type": "webdataset"},
        written(tmp_path / "saved", "state.json", b"{}") | {"path": str(tmp_path / "saved")},
        written(tmp_path / "mixed", "a.jsonl", LINES) | {"path": str(tmp_path / "mixed")},
        written(tmp_path, "c.csv", csv().encode()),
    ]
    written(tmp_path / "mixed", "b.csv", csv().encode())
    monkeypatch.setitem(sys.modules, "pandas", None)
    for entry in cases:
        _, lengths, findings = looked_through({"datasets": [entry | {"type": "completion"}]}, tmp_path)
        assert "data.not-judged" in [finding.code for finding in findings], entry
        assert (errors(findings), lengths.train) == ([], ()), entry


def test_a_pointer_of_git_lfs_is_named_as_one(tmp_path):
    entry = written(tmp_path, "train.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:28\nsize 21752418\n")
    (finding,) = [one for one in looked_through({"datasets": [entry]}, tmp_path)[2] if one.level == "error"]
    assert (finding.code, "Git LFS pointer" in finding.message, "git lfs pull" in finding.fix) == ("data.missing", True, True)


def test_rows_by_other_names_are_said_with_the_line_to_set(tmp_path):
    mine = tmp_path / "mine"
    for name in ("train.jsonl", "validation.jsonl"):
        written(mine, name, LINES)
    values = {"datasets": [{"path": "/content/data/train_postgres.jsonl"}], "test_datasets": [{"path": "/content/data/val_postgres.jsonl"}]}

    def missing():
        files, _ = find_data(values, find_workspace(tmp_path / "ws", environ={}), places(), mine)
        sources = [inspect_source(file.source, file) for file in files]
        return bring(sources, tmp_path / "ws/data", copy=True, missing="error", progress=quiet)[1]

    train, validation = missing()
    assert "its folder holds train.jsonl, validation.jsonl" in train.message
    assert train.fix == "--set datasets.0.path=/content/data/train.jsonl"
    assert validation.fix == "--set test_datasets.0.path=/content/data/validation.jsonl"
    (mine / "validation.jsonl").rename(mine / "valid.csv")
    assert missing()[1].fix == "--set test_datasets.0.path=/content/data/valid.csv --set test_datasets.0.ds_type=csv"
    (mine / "valid.csv").unlink()
    assert "val_set_size" in missing()[1].fix


@pytest.mark.parametrize("under", ["/content/data", "rows"])
def test_files_of_one_name_in_two_folders_are_two(tmp_path, under):
    mine = tmp_path / "mine"
    values = {"datasets": [{"path": f"{under}/{name}/train.jsonl", "type": "completion"} for name in ("a", "b")]}
    for name in ("a", "b"):
        written(mine / name, "train.jsonl", json.dumps({"text": name}).encode())
    workspace = find_workspace(tmp_path / "ws", environ={})
    files, _ = find_data(values, workspace, places(), mine)
    assert [file.source for file in files] == [mine / "a/train.jsonl", mine / "b/train.jsonl"]
    (mine / "b/train.jsonl").rename(mine / "train.jsonl")
    files, _ = find_data(values, workspace, places(), mine)
    assert not files[1].source.exists(), "one file stands for two"


def test_one_file_that_two_entries_name_is_staged_and_said_once(tmp_path):
    """The same rows twice, and the two parts of one file: what is wrong with the file is said once, and nothing leaks between the parts."""
    bad = LINES + b'{"text": "[INST] x [/INST] SELEC"}\n'
    entry = written(tmp_path, "a.jsonl", bad)
    values = {"datasets": [entry, entry | {"split": "train[:20]"}], "test_datasets": [entry | {"split": "train[20:]"}]}
    files, lengths, findings = looked_through(values, tmp_path)
    assert [one.rows for one in (*lengths.train, *lengths.held_out)] == [26, 20, 6]
    assert [finding.code for finding in findings].count("data.sql") == 1
    diagnostics = Diagnostics()
    (staged,) = _stage([replace(file, staged=tmp_path / "staged/a.jsonl") for file in files], diagnostics, quiet)
    assert ([file.name for file in staged.files], diagnostics.findings) == (["a.jsonl"], [])
    halves = {"datasets": [values["datasets"][1]], "test_datasets": values["test_datasets"]}
    assert "data.leakage" not in [finding.code for finding in looked_through(halves, tmp_path)[2]]
    assert "data.leakage" in [finding.code for finding in findings]


def test_a_list_larger_than_what_is_read_at_once(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS * 40, indent=1))
    for block in (7, 1000, 1 << 20):
        monkeypatch.setattr(formats, "BLOCK", block if block > 7 else 4096)
        scan = scan_file(Chunk(path=path, strategy=TEXT), None, "", quiet)
        assert (scan.rows, scan.bad, list(scan.digests.lines)[-1]) == (1000, 0, 1000)
