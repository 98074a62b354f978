import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from preflight.data.archives import MOST_FILES, SUMS, bring_archive, find_archive, inspect_archive, pack, unpack
from tests.conftest import CHECKOUT, environment, in_small_disk, run, tree

ROWS = {"train_postgres.jsonl": b'{"text": "a"}\n' * 500, "val_postgres.jsonl": b'{"text": "b"}\n'}


def quiet(what, done, total):
    pass


@pytest.fixture
def packed(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for name, data in ROWS.items():
        (folder / name).write_bytes(data)
    pack(list(folder.iterdir()), tmp_path / "data.zip", 10**9, quiet)
    return tmp_path / "data.zip"


def archive(path, **entries):
    """A zip whose entries are as given: name -> bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def problem(path, tmp_path):
    folder, findings = bring_archive(path, tmp_path / "unpacked", quiet)
    assert (folder is None) == bool(findings)
    assert not list((tmp_path / "unpacked").glob("*")) or not findings, "something was left"
    return " ".join(f"{finding.code}: {finding.message}" for finding in findings)


def test_packed_and_unpacked_are_the_same(packed, tmp_path):
    folder, findings = bring_archive(packed, tmp_path / "unpacked", quiet)
    assert findings == []
    assert {name: data for name, data in tree(folder).items() if name != SUMS} == ROWS
    before = (folder / "train_postgres.jsonl").stat().st_mtime_ns
    assert bring_archive(packed, tmp_path / "unpacked", quiet)[0] == folder
    assert (folder / "train_postgres.jsonl").stat().st_mtime_ns == before, "it was unpacked again"


def test_the_same_rows_give_the_same_bytes(packed, tmp_path):
    first = packed.read_bytes()
    os.utime(tmp_path / "rows/train_postgres.jsonl", (1, 1))
    (tmp_path / "rows/val_postgres.jsonl").chmod(0o600)
    pack(sorted((tmp_path / "rows").iterdir(), reverse=True), packed, 10**9, quiet)
    assert packed.read_bytes() == first


def test_the_sums_are_those_of_sha256sum(packed, tmp_path):
    """The tool that a person has checks what the kit wrote."""
    subprocess.run(["sha256sum", "-c", "data.zip.sha256"], cwd=tmp_path, check=True, capture_output=True)
    with zipfile.ZipFile(packed) as file:
        file.extractall(tmp_path / "by hand")
    subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path / "by hand", check=True, capture_output=True)


def encrypted(path):
    """A zip that says so: bit 0 of the flags, in the directory and before the data."""
    archive(path, **{"train.jsonl": b"x"})
    data = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + place] |= 1
    path.write_bytes(bytes(data))


def link(path):
    entry = zipfile.ZipInfo("train.jsonl")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    entry.create_system = 3
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(entry, "/etc/passwd")


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("train.jsonl", "w", force_zip64=True) as target:
        for _ in range(1100):
            target.write(bytes(1 << 20))


def liar(path):
    """An entry that holds more than its directory says."""
    archive(path, **{"train.jsonl": b"x" * 100_000})
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))


def renamed(path, name):
    """An entry whose name is these bytes, which zipfile itself would not write."""
    archive(path, **{"train.jsonl": b"x", "~" * max(1, len(name)): b"y"})
    data, placeholder = path.read_bytes(), b"~" * max(1, len(name))
    if not name:  # a name of length 0, in the directory and before the data
        first, second = data.index(placeholder), data.rindex(placeholder)
        data = bytearray(data[:first] + data[first + 1 : second] + data[second + 1 :])
        data[first - 4 : first - 2] = bytes(2)
        data[second - 1 - 46 + 28 : second - 1 - 46 + 30] = bytes(2)
        end = data.rindex(b"PK\x05\x06")
        size, place = int.from_bytes(data[end + 12 : end + 16], "little"), int.from_bytes(data[end + 16 : end + 20], "little")
        data[end + 12 : end + 20] = (size - 1).to_bytes(4, "little") + (place - 1).to_bytes(4, "little")
    path.write_bytes(bytes(data).replace(placeholder, name) if name else bytes(data))


def not_utf8(path):
    """An entry that says that its name is UTF-8, and is not."""
    archive(path, **{"train.jsonl": b"x", "\u00e4.txt": b"y"})
    path.write_bytes(path.read_bytes().replace("\u00e4.txt".encode(), b"\xff\xfe.txt"))


BAD = {
    "an entry without a name": (lambda path: renamed(path, b""), "name"),
    "an entry that is the folder": (lambda path: archive(path, **{"train.jsonl": b"x", ".": b"y"}), "an entry's name is none"),
    "a name that no file system takes": (lambda path: archive(path, **{"train.jsonl": b"x", "x" * 256: b"y"}), "longer than 255 bytes"),
    "a name that is not UTF-8": (not_utf8, "the name of an entry is none, or not UTF-8"),
    "cut off": (lambda path: path.write_bytes(archive(path, a=b"x" * 1000).read_bytes()[:-30]), "cut off"),
    "no zip": (lambda path: path.write_bytes(b"<html>404</html>"), "no zip file"),
    "nothing in it": (lambda path: archive(path), "empty"),
    "only litter": (lambda path: archive(path, **{"__MACOSX/._a": b"x", ".DS_Store": b"x"}), "empty"),
    "encrypted": (encrypted, "encrypted"),
    "leaves the folder": (lambda path: archive(path, **{"../evil.jsonl": b"x"}), "leaves the folder"),
    "leaves it the Windows way": (lambda path: archive(path, **{"a\\..\\..\\evil.jsonl": b"x"}), "leaves the folder"),
    "absolute": (lambda path: archive(path, **{"/etc/evil.jsonl": b"x"}), "absolute path"),
    "a drive": (lambda path: archive(path, **{"C:/evil.jsonl": b"x"}), "absolute path"),
    "a link": (link, "link"),
    "the same name twice": (lambda path: archive(path, **{"a/train.jsonl": b"x", "b/train.jsonl": b"y"}), "in it twice"),
    "a bomb": (bomb, "bomb"),
    "more than it says": (liar, "can't be read"),
    "a wrong sum": (lambda path: archive(path, **{"train.jsonl": b"x", SUMS: b"0" * 64 + b"  train.jsonl\n"}), "data.checksum"),
    "a file without a sum": (lambda path: archive(path, **{"train.jsonl": b"x", SUMS: b""}), "none is recorded"),
}


@pytest.mark.parametrize("name", BAD)
def test_archives_that_are_refused(tmp_path, name):
    make, says = BAD[name]
    make(tmp_path / "data.zip")
    assert says in problem(tmp_path / "data.zip", tmp_path)


@pytest.mark.parametrize("name", ["d\u00e4t\u00e4.zip", "d\udce4t\udce4.zip"], ids=["UTF-8", "Latin-1"])
@pytest.mark.parametrize("content", [{"d\u00e4t\u00e4.jsonl": b"x"}, {"readme.txt": b"x"}])
def test_names_outside_ascii(tmp_path, name, content):
    """Of the archive and of its entries; one that says nothing of its encoding is read as zip has it."""
    folder, findings = bring_archive(archive(tmp_path / name, **content), tmp_path / "unpacked", quiet)
    assert (findings, tree(folder)) == ([], content)
    renamed(tmp_path / name, b"d\xe4t\xe4")
    folder, findings = bring_archive(tmp_path / name, tmp_path / "unpacked", quiet)
    assert (findings, sorted(tree(folder).values())) == ([], [b"x", b"y"])


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_what_is_wrong_with_an_archive_is_printed_whatever_its_name_and_the_terminal(tmp_path, encoding):
    path = tmp_path / "d\udce4t\u00e4.zip"
    path.write_bytes(b"no zip")
    env = environment() | {"PYTHONIOENCODING": encoding}
    ran = run(sys.executable, "-m", "preflight", "axolotl_configs/smoke.yaml", "--plan-only", "--data", path, env=env)
    assert ran.code == 1
    assert "data.archive" in ran.out
    assert "d\\udce4t" in ran.out


def test_litter_and_folders_are_passed_over(tmp_path):
    path = archive(tmp_path / "data.zip", **{"rows/train.jsonl": b"x", "__MACOSX/rows/._train.jsonl": b"y", "rows/.DS_Store": b"z", "rows/": b""})
    folder, findings = bring_archive(path, tmp_path / "unpacked", quiet)
    assert (findings, tree(folder)) == ([], {"train.jsonl": b"x"})


def test_a_sum_beside_that_differs(packed):
    packed.with_name("data.zip.sha256").write_text("0" * 64 + "  data.zip\n")
    (finding,) = bring_archive(packed, packed.parent, quiet)[1]
    assert finding.code == "data.checksum"


def test_an_unpacking_that_fails_leaves_nothing(packed, tmp_path):
    """A byte changed in the middle: the checksum of the entry itself."""
    data = bytearray(packed.read_bytes())
    data[80] ^= 0xFF
    packed.write_bytes(bytes(data))
    packed.with_name("data.zip.sha256").unlink()
    assert "data.archive" in problem(packed, tmp_path)


def test_where_an_archive_is_looked_for(packed, tmp_path):
    drive = tmp_path / "drive"
    drive.mkdir()
    assert find_archive(None, drive) is None
    shutil.copy(packed, drive)
    assert find_archive(None, drive) == drive / "data.zip"
    assert find_archive(tmp_path, drive) is None
    assert find_archive(packed, drive) == packed
    (drive / "train_postgres.jsonl").write_text("{}")
    assert find_archive(None, drive) is None, "loose rows lie there"


def test_mutations_of_an_archive_never_give_a_traceback(packed, tmp_path):
    rng = random.Random(5)
    good = packed.read_bytes()
    packed.with_name("data.zip.sha256").unlink()
    refused = 0
    for number in range(300):
        raw = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(raw))
            raw[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        packed.write_bytes(bytes(raw))
        folder, findings = bring_archive(packed, tmp_path / str(number), quiet)
        refused += bool(findings)
        if folder:
            assert {name: data for name, data in tree(folder).items() if name != SUMS} == ROWS
    assert refused > 200


def test_staging_from_an_archive(preflight, tmp_path):
    """As a person does it: packed by the script, staged and planned from the zip, the same rows as from the folder."""
    done = subprocess.run(["scripts/package_data.sh", "sample_data", tmp_path / "data.zip"], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    planned = preflight("axolotl_configs/smoke.yaml", "--data", tmp_path / "data.zip", "--plan-only", "--json")
    assert (planned.code, planned.json["plan"]["steps"]) == (0, 398)
    assert not (tmp_path / "workspace").exists()
    staged = preflight("axolotl_configs/smoke.yaml", "--data", tmp_path / "data.zip", "--json")
    assert staged.code == 0
    folder = Path(staged.json["data"]["folders"][0]["folder"])
    assert (folder / "train_postgres.jsonl").read_bytes() == (CHECKOUT / "sample_data/train_postgres.jsonl").read_bytes()


def test_a_disk_that_fills_while_unpacking(preflight, tmp_path):
    rows = tmp_path / "rows"
    rows.mkdir()
    for name in ("train_postgres.jsonl", "val_postgres.jsonl"):
        (rows / name).write_bytes(os.urandom(300_000).hex().encode())
    pack(list(rows.iterdir()), tmp_path / "data.zip", 10**9, quiet)
    disk = tmp_path / "disk"
    ran = preflight("axolotl_configs/smoke.yaml", "--data", tmp_path / "data.zip", "--json", workspace=disk, under=in_small_disk(disk, "size=900k"))
    assert "workspace.full" in ran.codes
    assert ran.code == 1


def package(*arguments):
    done = subprocess.run(["scripts/package_data.sh", *map(str, arguments)], cwd=CHECKOUT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


def test_the_script_says_the_three_ways(tmp_path):
    done = package("sample_data", tmp_path / "data.zip")
    for part in ("2,000 rows", "Google Drive", "gh release create", "preflight --data https://github.com/", "--sha256"):
        assert part in done.stdout
    assert re.search(r"sha256 [0-9a-f]{64}", done.stdout)


def test_the_script_reads_rows_as_a_config_does(tmp_path):
    """What preflight would say of them on Colab, with the lines of YAML that read them."""
    instruct = "axolotl_configs/mistral_qlora_instruct.yaml"
    for name in ("train", "val"):
        rows = [{"question": f"{name} {number}?", "context": "CREATE TABLE t (a int);", "answer": f"SELECT {number} FROM t;"} for number in range(5)]
        (tmp_path / f"{name}_postgres.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "--config YAML" in package(tmp_path, tmp_path / "o.zip").stderr
    done = package(tmp_path, tmp_path / "o.zip", "--config", instruct)
    assert done.returncode == 1
    assert "data.wrong-columns" in done.stderr
    assert '"field_instruction": "question", "field_input": "context", "field_output": "answer"' in " ".join(done.stderr.split())
    config = tmp_path / "mine.yaml"
    names = {
        "field_instruction: instruction": "field_instruction: question",
        "field_input: input": "field_input: context",
        "field_output: output": "field_output: answer",
    }
    text = (CHECKOUT / instruct).read_text()
    for name, other in names.items():
        text = text.replace(name, other)
    config.write_text(text)
    done = package(tmp_path, tmp_path / "o.zip", "--config", config)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.zip").exists()
    assert "no such file" in package(tmp_path, tmp_path / "o.zip", "--config", tmp_path / "none.yaml").stderr


def test_the_script_refuses(tmp_path):
    assert "holds no train_postgres.jsonl" in package(tmp_path, tmp_path / "o.zip").stderr
    shutil.copytree(CHECKOUT / "sample_data", tmp_path / "rows", ignore=shutil.ignore_patterns("smoke_base", "messages", "*.py", "__pycache__"))
    with (tmp_path / "rows/val_postgres.jsonl").open("a") as file:
        file.write("not json\n")
    done = package(tmp_path / "rows", tmp_path / "o.zip")
    assert (done.returncode, (tmp_path / "o.zip").exists()) == (1, False)
    assert f"{tmp_path}/rows/val_postgres.jsonl:201" in done.stderr
    assert package("--nonsense").returncode == 2


def test_a_zip_over_the_limit_leaves_the_earlier_one(tmp_path):
    (tmp_path / "o.zip").write_bytes(b"earlier")
    done = package("sample_data", tmp_path / "o.zip", "--limit-mb", "0")
    assert done.returncode == 1
    assert "raise the limit" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.zip"]
    assert (tmp_path / "o.zip").read_bytes() == b"earlier"


def test_unpacking_into_a_folder_that_is_whole_does_nothing(packed, tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    assert unpack(inspect_archive(packed), folder, quiet) == []
    assert list(folder.iterdir()) == []


def test_an_archive_of_very_many_files_is_not_unpacked(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(MOST_FILES + 1):
            archive.writestr(f"{number}.jsonl", "")
    assert "it holds 1,001 files" in inspect_archive(path).problem
