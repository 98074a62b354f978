"""Axolotl's own validators: rules over several keys, which the schema can't hold. Only Axolotl runs them, in the training environment's
Python. Starting it takes 10 s, so a verdict is kept in the workspace, and a plan, which writes nothing, only reads it."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from preflight.config.layers import Config, lookup, shown
from preflight.config.schema import read_schema
from preflight.config.values import world_size
from preflight.files import CHECKOUT, MALFORMED, Progress, write_atomic
from preflight.findings import Diagnostics, Finding
from preflight.machine.environment import Environment
from preflight.machine.gpu import Gpu
from preflight.machine.stage import Machine

Ask = Literal["auto", "always", "never"]
LIMIT = 180  # seconds; a start takes 10, and over a minute where its packages are read from a disk for the first time
EXPECTED = 12
KEPT = 50  # verdicts
# nothing is fetched, sent or put on a GPU by it
VARIABLES = {"AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(CHECKOUT)}


def default_ask() -> Ask:
    """What PREFLIGHT_VALIDATORS says, or else auto."""
    named = os.environ.get("PREFLIGHT_VALIDATORS")
    return next((ask for ask in get_args(Ask) if ask == named), "auto")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Who judged the values: `axolotl`, its validators, or `schema` alone, and then why."""

    judged_by: Literal["axolotl", "schema"] = "schema"
    note: str = ""

    def as_json(self) -> dict[str, object]:
        """The key `validators` of `--json`."""
        return {"judged_by": self.judged_by, "note": self.note}


def judge(config: Config, machine: Machine, ask: Ask, diagnostics: Diagnostics, progress: Progress) -> tuple[Verdict, list[Finding]]:
    """Their verdict on the config: the one that is kept, or by asking them, unless this is a plan."""
    if not machine.environment.axolotl:
        return Verdict(note="Axolotl is not installed here; its own validators judge once it is"), []
    if any(finding.level == "error" and finding.code.startswith("config.") for finding in diagnostics.findings):
        # what was left out would be missed, and what is unsafe would be imported
        return Verdict(note="Axolotl's own validators judge once the errors of the config are fixed"), []
    question = yaml.safe_dump({"values": dict(config.values), "capabilities": _capabilities(config, machine.gpu)}, sort_keys=True)
    known = machine.workspace.root / "verdicts.json"
    key = hashlib.sha256(f"{machine.environment.axolotl}\n{question}".encode()).hexdigest()
    kept = _read(known)
    answer = kept.get(key)
    if answer is None and (ask == "never" or (ask == "auto" and not diagnostics.writes)):
        return Verdict(note="Axolotl's own validators run with preflight without --plan-only, or with --validators always (10 s)"), []
    if answer is None:
        answer = _ask(machine.environment, question, progress)
        if diagnostics.writes and machine.writable and not answer["failed"]:
            _keep(known, {**dict(list(kept.items())[-KEPT + 1 :]), key: answer})
    if answer["failed"]:
        message = f"Axolotl's own validators have not judged this config: {answer['failed']}"
        fix = "if training stops with the same, change what it names; else it says nothing about the config"
        found = [Finding(code="config.not-validated", level="warning", where=str(config.file.path), message=message, fix=fix)]
        return Verdict(note=f"Axolotl's own validators failed: {answer['failed']}"), found
    return Verdict(judged_by="axolotl"), [refusal(config, str(one["key"]), str(one["message"])) for one in answer["refused"]]


def _capabilities(config: Config, gpu: Gpu | None) -> Mapping[str, Any] | None:
    """What Axolotl will say of the GPU at the launch; nothing where there is none to train on, nor under Ray, which asks on its workers."""
    if config.values.get("use_ray") or (config.needs_gpu and not gpu):
        return None
    capability = gpu.compute_capability if gpu and config.needs_gpu else (0, 0)
    name = f"sm_{capability[0]}{capability[1]}" if any(capability) else None
    features = {"bf16": capability >= (8, 0), "fp8": capability >= (9, 0), "tf32": capability >= (8, 0)}
    return features | {"n_gpu": world_size(config.values), "compute_capability": name}


def _ask(environment: Environment, question: str, progress: Progress) -> dict[str, Any]:
    """Their answer, or why there is none."""
    with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+", errors="replace") as log:
        asked.write(question)
        asked.seek(0)
        command = [environment.beside("python"), "-m", "preflight.training.validate"]
        with subprocess.Popen(command, stdin=asked, stdout=said, stderr=log, env=os.environ | VARIABLES) as process:
            failed = _wait(process, progress)
        said.seek(0)
        log.seek(0)
        try:
            answer = json.load(said)
            return {"refused": [dict(one) for one in answer["refused"]], "failed": str(answer["failed"])}
        except MALFORMED:
            last = next((line.strip() for line in reversed(log.read().splitlines()) if line.strip()), "")
            return {"refused": [], "failed": failed or last or f"their process ended with {process.returncode}"}


def _wait(process: subprocess.Popen[bytes], progress: Progress) -> str:
    """Wait for its end, showing that; why it was not waited for, or ''."""
    started = time.monotonic()
    try:
        while process.poll() is None:
            taken = time.monotonic() - started
            if taken > LIMIT:
                return f"no answer in {LIMIT} s"
            progress("Axolotl's own validators", min(int(taken), EXPECTED - 1), EXPECTED)
            time.sleep(0.1)
        progress("Axolotl's own validators", EXPECTED, EXPECTED)
        return ""
    finally:
        if process.poll() is None:
            process.kill()


def refusal(config: Config, key: str, message: str) -> Finding:
    """`config.refused`: what they say, the line that it is about, and how the keys that it names are set."""
    text = " ".join(message.removeprefix("Value error, ").split())
    known = read_schema()["properties"]
    named = list(dict.fromkeys(word for word in re.findall(r"[a-z_0-9]+", text) if word in known and (word in config.values or "_" in word)))
    at = next((name for name in (key, *named) if name and lookup(config.values, name) is not None), key or (named[0] if named else ""))
    now = [f"{name}: {shown(config.values[name])}" if config.values.get(name) is not None else f"{name} is not set" for name in named]
    fix = f"change {'it' if len(now) == 1 else 'one of them'}; now {', '.join(now)}" if now else "change the value"
    where = config.where(at) if at else str(config.file.path)
    message = f"{f'{key}: ' if key else ''}{text} (Axolotl would stop at the launch)"
    return Finding(code="config.refused", level="error", where=where, message=message, fix=fix)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {key: answer for key, answer in kept.items() if isinstance(answer["refused"], list) and isinstance(answer["failed"], str)}
    except (OSError, *MALFORMED):
        return {}


def _keep(path: Path, verdicts: Mapping[str, Any]) -> None:
    try:
        write_atomic(path, json.dumps(verdicts))
    except OSError:
        return  # they are asked again
