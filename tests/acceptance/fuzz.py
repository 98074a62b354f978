"""Mutated configs, checkpoints, archives and rows, by the thousand, and what preflight makes of each: `make fuzz`, an hour.

It must end with exit code 0, 1 or 2, one JSON document and no traceback, in bounded time, and resume from nothing that is damaged. What
falls is saved with its command; the same seed gives the same cases.
"""

import argparse
import contextlib
import copy
import datetime
import faulthandler
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from preflight.checkpoints import manifest, mirror
from preflight.checkpoints.verify import inspect_checkpoints, is_finished, latest_complete
from preflight.cli.console import EXIT_INTERRUPTED
from preflight.cli.preflight import main
from preflight.data.archives import pack
from preflight.files import silent
from tests.checkpoints.test_verify import checkpoint, final
from tests.conftest import CHECKOUT  # which has the hub's client ask a stand-in
from tests.support.judge import shared_server

SMOKE, CHAT = CHECKOUT / "axolotl_configs/smoke.yaml", CHECKOUT / "axolotl_configs/mistral_qlora_chat.yaml"
SHORT = {"max_steps": 2, "save_steps": 1, "eval_steps": 1, "output_dir": "out", "base_model": str(CHECKOUT / "sample_data/smoke_base")}
HERE = ("--json", "--workspace", "ws")
CONFIGS = sorted(path for pattern in ("axolotl_configs/*.yaml", "tests/examples/a*/*.y*ml") for path in CHECKOUT.glob(pattern))
SECONDS, AT_MOST = 30, 300  # of the processor that a case may take, and of the clock before the whole process is ended
SHARED = []  # folders to delete at the end
FEW = 3  # inputs that are kept of each kind of fall


class HangError(BaseException):
    """A case that has taken too long. No Exception: nothing in the kit may take it for one of its own."""


@dataclass
class Case:
    """A command line whose inputs lie in a folder, and what has to hold before and after it: a sentence where it does not."""

    argv: list[str]
    before: Callable[[], str] = str
    after: Callable[[dict], str] = lambda document: ""


# ---- mutations


def odd_value(rng):
    numbers = [0, -1, 1, 2**31, 2**63, -(10**30), 10**400, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"), True, False]
    texts = ["", " ", "60", "x" * 5000, "\0", "\ud800", "\u202e", "\x1b[2J", "~nosuchuser/x", "/", "..", "a b'c\"d$e", "${HOME}", "nan", "=", "ä"]
    nested = [[], {}, [[]], {"": None}, [None], {"a": {"b": [1, {"c": "d"}]}}, nest(20), nest(100)]
    others = [None, datetime.date(2024, 5, 5), datetime.datetime(1, 1, 1), b"\xff\x00", {"a", "b"}]
    return rng.choice(rng.choice([numbers, texts, nested, others]))


def nest(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def places(value, path=()):
    """Every place inside mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated_value(rng, value, keys=()):
    """The value with one to three changes: another value somewhere, one left out, doubled, moved, or a key more."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2, 3])):
        found = list(places(value))
        if not found:
            return odd_value(rng)
        *way, last = rng.choice(found)
        holder = value
        for key in way:
            holder = holder[key]
        match rng.randrange(9):
            case 0:
                del holder[last]
            case 6 | 7 | 8 if isinstance(holder[last], int | float) and abs(holder[last]) < 2**40:
                holder[last] = rng.choice([not holder[last], holder[last] + 1, holder[last] * 2, holder[last] / 3, str(holder[last]), 2, 64])
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case 2 if keys and isinstance(holder, dict):
                holder[rng.choice(keys)] = odd_value(rng)
            case 3 if isinstance(holder, dict):
                holder[rng.choice([None, True, 5, 0.5, "", str(last).upper(), f"{last} ", str(last)[:-1], "x" * 5000])] = holder.pop(last)
            case 4:
                holder[last] = [holder[last]] if rng.random() < 0.5 else {"path": holder[last]}
            case _:
                holder[last] = odd_value(rng)
    return value


def mutated_bytes(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at, size = rng.randrange(len(content) + 1), rng.choice([1, 2, 4, 30, 1000])
        match rng.randrange(6):
            case 0 if content:
                content[at % len(content)] ^= 1 << rng.randrange(8)
            case 1:
                del content[at : at + size]
            case 2:
                content[at:at] = rng.randbytes(min(size, 30))
            case 3:
                content[at : at + size] = bytes(size)
            case 4:
                content[at:at] = content[at : at + size]
            case _:
                content[at : at + 1] = rng.choice(
                    [b"\0", b"\xff", b"\xed\xa0\x80", b"{", b"]", b"\n", b'"', b"&a", b"*a", b"!!", b": ", b"-", b"9" * 5000, b"[" * 3000]
                )
    return bytes(content)


def mutated_json(rng, text):
    return json.dumps(mutated_value(rng, json.loads(text)), default=str)


# ---- what is mutated


@cache
def keys():
    return sorted(json.loads((CHECKOUT / "axolotl_configs/schema/axolotl.json").read_text())["properties"])


@cache
def shared():
    """What every case reads and none changes: a few rows, and a run with two checkpoints, here and on its Drive."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-shared-"))
    SHARED.append(folder)
    for kind, source in {"rows": "sample_data", "messages": "sample_data/messages"}.items():
        (folder / kind).mkdir()
        for name in ("train", "val", "test"):
            lines = (CHECKOUT / source / f"{name}_postgres.jsonl").read_bytes().splitlines(keepends=True)
            (folder / kind / f"{name}_postgres.jsonl").write_bytes(b"".join(lines[:12]))
    pack(sorted((folder / "rows").iterdir()), folder / "rows.zip", 10**9, silent)
    (folder / "run").mkdir()
    with contextlib.chdir(folder / "run"), contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(run_of(folder)) == 0, said.getvalue()
    settings = mirror.read_settings(folder / "run/ws/runs/smoke")
    outputs = folder / "run/ws/runs/smoke/outputs"
    for path in (checkpoint(outputs, 1, last=2), checkpoint(outputs, 2, last=2)):
        step = int(path.name[11:])
        manifest.write(path, manifest.describe(path, subfolders=True, step=step, max_steps=2, best_step=0, experiment=settings.experiment))
    shutil.copytree(outputs, folder / "run/out", dirs_exist_ok=True)
    return folder


def run_of(folder):
    """The command line of the run of `shared`: nothing is wrong with it."""
    (folder / "smoke.yaml").write_text(yaml.safe_dump(yaml.safe_load(SMOKE.read_bytes()) | SHORT))
    return [str(folder / "smoke.yaml"), *HERE, "--data", str(folder / "rows")]


def configs(rng, folder):
    """A YAML: its values, its text, or both; and --set, a GPU, an engine."""
    source = rng.choice([shared() / "smoke.yaml"] * 30 + CONFIGS).read_bytes()
    if rng.random() < 0.7:
        source = yaml.dump(mutated_value(rng, yaml.safe_load(source), keys()), Dumper=yaml.SafeDumper).encode(errors="surrogatepass")
    if rng.random() < 0.3:
        source = mutated_bytes(rng, source)
    (folder / "smoke.yaml").write_bytes(source)
    argv = ["smoke.yaml", *HERE, "--data", str(shared() / "rows")]
    for _ in range(rng.choice([0, 0, 1, 2])):
        argv += ["--set", f"{rng.choice(keys())}{rng.choice(['', '', '', '.0', '.x', '.-1'])}={shown(odd_value(rng))}"]
    match rng.randrange(6):
        case 0:
            argv += ["--plan-only"]
        case 1:
            argv += ["--gpu", rng.choice(["t4", "a100-40gb", "h100", "all"])]
        case 2:
            argv += ["--gpu", "a100-40gb", "--scale", rng.choice(["ddp", "fsdp2", "deepspeed", "ray"]), "--gpus-per-node", "2"]
        case _:
            argv += ["--set", "output_dir=out"]  # the last word: nothing is written elsewhere
    return Case(argv)


def shown(value):
    """A value as somebody types it: no NUL, which no command line holds."""
    return str(value).replace("\0", "").encode(errors="ignore").decode()


def checkpoints(rng, folder):
    """Files of checkpoints and of the final adapter, here and on Drive; names of folders."""
    shutil.copytree(shared() / "run", folder, dirs_exist_ok=True)
    outputs = folder / "ws/runs/smoke/outputs"
    for path in (outputs.with_name("config.yaml"), outputs.with_name(mirror.SETTINGS)):
        path.write_text(path.read_text().replace(str(shared() / "run"), str(folder)))
    if rng.random() < 0.3:
        final(outputs, 2, last=2)
    whole = {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    for _ in range(rng.choice([1, 1, 2, 4])):
        here = rng.choice([outputs, outputs, folder / "out", folder / "ws/runs/smoke"])
        there = sorted(path for path in here.rglob("*") if not path.is_symlink()) if os.path.realpath(here) == str(here) else ()
        if there:  # what is no link, and behind none: nothing outside of the case is touched
            harm(rng, rng.choice(there))
    damaged = {path for path, content in whole.items() if not path.is_file() or path.read_bytes() != content}
    argv = run_of(shared()) + ["--plan-only"] * (rng.random() < 0.3)
    return Case(argv, lambda: taken_for_whole(outputs, damaged), lambda document: resumes_from_damage(document, outputs))


def harm(rng, path):
    """Do something to a file or a folder that a run left."""
    if path.is_file() and rng.random() < 0.85:
        if path.suffix == ".json" and rng.random() < 0.6:
            with contextlib.suppress(ValueError):
                path.write_text(mutated_json(rng, path.read_bytes()))
                return
        path.write_bytes(mutated_bytes(rng, path.read_bytes()))
        return
    name = rng.choice(
        ["checkpoint-", "checkpoint-07", f"checkpoint-{10**30}", "checkpoint-\u0663", "checkpoint-x", ".checkpoint-2.partial", "checkpoint-9"]
    )
    if path.parent.name == "out" or rng.random() < 0.5:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        match rng.randrange(4):
            case 0:
                path.symlink_to(rng.choice(["nowhere", path.name, ".", "/dev/null"]))
            case 1:
                path.mkdir()
            case 2:
                path.write_bytes(rng.randbytes(20))
    elif not (path.parent / name).exists():
        path.rename(path.parent / name)


def taken_for_whole(outputs, damaged):
    """What a manifest describes and is not as it says, and is resumed from, or finishes the run, all the same."""
    if not outputs.is_dir():
        return ""
    latest = latest_complete(inspect_checkpoints(outputs))
    if latest and latest.described and (harmed := listed(latest.path, damaged)):
        return f"{latest.path.name} is taken for whole, and {harmed} was changed"
    if is_finished(outputs) and (harmed := listed(outputs, damaged)):
        return f"the run is taken for finished, and {harmed} was changed"
    return ""


def listed(folder, damaged):
    """A damaged file that the folder's manifest names, where that is not damaged itself."""
    held = None if folder / manifest.NAME in damaged else manifest.read(folder)
    return next((name for name in (held.files if held else ()) if folder / name in damaged), "")


def resumes_from_damage(document, outputs):
    """What preflight resumes from, unless it only plans to bring it, is what its manifest says."""
    path = Path(document["checkpoints"]["resume_from"] or "/nowhere")
    held = manifest.read(path) if path.is_relative_to(outputs) else None
    return manifest.difference(path, held, hashes=True) if held and document["written"] else ""


def rows(rng, folder):
    """An archive, or the rows of one file, as text or as values."""
    argv = [str(shared() / "smoke.yaml"), *HERE]
    if rng.random() < 0.3:
        (folder / "rows.zip").write_bytes(mutated_bytes(rng, (shared() / "rows.zip").read_bytes()))
        if rng.random() < 0.2:
            (folder / "rows.zip.sha256").write_bytes(mutated_bytes(rng, (shared() / "rows.zip.sha256").read_bytes()))
        return Case([*argv, "--data", "rows.zip", *["--plan-only"] * (rng.random() < 0.5)])
    kind = rng.choice(["rows", "messages"])
    shutil.copytree(shared() / kind, folder / "rows")
    path = rng.choice(sorted((folder / "rows").iterdir()))
    lines = path.read_bytes().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = f"{mutated_json(rng, lines[at])}\n".encode() if rng.random() < 0.6 else mutated_bytes(rng, lines[at])
    path.write_bytes(b"".join(lines))
    if kind == "messages":
        return Case(
            [
                str(CHAT),
                *HERE,
                "--set",
                f"base_model={SHORT['base_model']}",
                "--data",
                "rows",
                "--gpu",
                "l4",
                "--show-example",
                str(rng.randint(1, 12)),
            ]
        )
    if rng.random() < 0.3:
        argv += ["--set", f"datasets.0.type={rng.choice(['alpaca', 'chat_template', 'input_output', 'completion', 'alpaca_chat.load_qa'])}"]
    return Case([*argv, "--data", "rows", *["--plan-only", "--show-example"] * (rng.random() < 0.5)])


SUBJECTS = {"configs": configs, "checkpoints": checkpoints, "rows": rows}


# ---- judging


def unlike_its_design(code, out, err, log=""):
    """What a run of preflight did that it must not, or ''."""
    if code == 2:
        return "" if err.strip() and "Traceback" not in err else "exit code 2 without a word"
    try:
        document = json.loads(out, parse_constant=lambda name: 1 / 0)
        out.encode()
    except (ValueError, ZeroDivisionError) as error:
        return f"exit code {code}, and what was printed is no JSON ({error}): {err.strip()[-200:]}{log}"
    if crashes := [finding["where"] for finding in document["findings"] if finding["code"] == "internal.crash"]:
        return f"internal.crash in {crashes[0]}{log}"
    if "Traceback" in err or code not in (0, 1) or (code == 0) != document["ok"]:
        return f"exit code {code}: {err.strip()[-200:]}{log}"
    return ""


def judge(case, folder):
    """What fell when the case was run in its folder, or ''."""
    (folder / "argv.json").write_text(json.dumps(case.argv))
    scratch = folder / "scratch"
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    out, err = io.StringIO(), io.StringIO()

    def end(number, frame):
        raise HangError(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")

    signal.signal(signal.SIGPROF, end)
    faulthandler.dump_traceback_later(AT_MOST, exit=True)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            fell = case.before()
            try:
                code = main(case.argv)
            except SystemExit as ended:  # argparse
                code = ended.code
        if code == EXIT_INTERRUPTED:  # by Ctrl-C, which preflight has taken for its own
            raise KeyboardInterrupt
        logs = "".join(path.read_text() for path in scratch.glob("preflight-crash-*"))
        fell = fell or unlike_its_design(code, out.getvalue(), err.getvalue(), f"\n{logs[-1500:]}" if logs else "")
        return fell or ("" if code == 2 else case.after(json.loads(out.getvalue())))
    except HangError as error:
        return f"over {SECONDS} s, in {error}"
    except Exception:
        return f"outside of preflight\n{traceback.format_exc()[-1500:]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        tempfile.tempdir = None


def kind_of(fell):
    """What makes two falls the same: the last place in the kit of a traceback, or the sentence without its numbers."""
    places = [line.strip() for line in fell.splitlines() if "/preflight/" in line and line.strip().startswith("File ")]
    return f"{places[-1].rpartition('/')[2]} {fell.strip().splitlines()[-1][:100]}" if places else "".join(c for c in fell[:120] if not c.isdigit())


def fuzz(seed, numbers, only, until, kept):
    """Run the cases; how many of each subject, and the falls by their kind."""
    done, falls = Counter(), {}
    said = time.monotonic()
    for number in numbers:
        subject = only[number % len(only)]
        folder = Path(tempfile.mkdtemp(prefix="fuzz-")).resolve()
        try:
            fell = judge(SUBJECTS[subject](random.Random(f"{seed}:{subject}:{number}"), folder), folder)
            done[subject] += 1
            if fell:
                same = falls.setdefault(kind_of(fell), [])
                same.append(f"{subject} {number}")
                if len(same) <= FEW:
                    place = kept / f"{subject}-{seed}-{number}"
                    shutil.copytree(folder, place, symlinks=True, dirs_exist_ok=True)
                    (place / "what-fell.txt").write_text(f"{fell}\n", errors="backslashreplace")
                    print(f"fell: {subject} {number}: {fell}\n  kept in {place}", flush=True)
        except KeyboardInterrupt:
            break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() - said > 60:
            said = time.monotonic()
            print(f"{sum(done.values()):,} cases, {len(falls)} kinds of fall", flush=True)
        if time.monotonic() > until:
            break
    return done, falls


def run(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long; the case under way is ended")
    parser.add_argument("--cases", type=int, help="how many; without either, until Ctrl-C")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same cases (default: the time)")
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--only", action="append", choices=tuple(SUBJECTS), help="this subject alone")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-failures"), help="where the inputs of what falls are kept")
    args = parser.parse_args(argv)
    subjects = args.only or list(SUBJECTS)
    numbers = [args.case] if args.case is not None else range(args.cases) if args.cases else itertools.count()
    print(f"seed {args.seed}", flush=True)
    try:
        with shared_server():
            done, falls = fuzz(args.seed, numbers, subjects, time.monotonic() + args.seconds, args.kept.absolute())
    finally:
        for folder in SHARED:
            shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{sum(done.values()):,} cases ({', '.join(f'{count:,} {subject}' for subject, count in done.items())}), seed {args.seed}: {len(falls)} kinds fell"
    )
    for kind, cases in falls.items():
        print(f"  {len(cases)} times: {kind}: {', '.join(cases[:FEW])}")
    return bool(falls)


if __name__ == "__main__":
    sys.exit(run())
