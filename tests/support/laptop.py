"""The laptop's side of a run, as a process that a test may lose: `python -m tests.support.laptop FOLDER`. Its machine trains by a script of
a few lines, so that each step of the journey can be cut in seconds."""

import os
import sys
import tarfile
from pathlib import Path

from preflight.remote.colab import Colab
from preflight.remote.journey import arrive, begun, travel
from preflight.remote.needs import Journey
from preflight.remote.state import RunFile, read_run
from tests.support.colab import make_command

PART = 2000  # bytes, so that a checkpoint of 2,500 goes in parts
STEPS = 3
# a training whose weights depend on every step before: one that goes on from the wrong place ends elsewhere
TRAIN = """#!/usr/bin/env bash
exec PYTHON -S - "$@" <<'PY'
import hashlib, json, os, sys, time
from pathlib import Path
given = sys.argv[1:]
results = Path(next(word for word in given if word.startswith("output_dir=")).partition("=")[2])
work = Path(given[given.index("--workspace") + 1])
if "--data" in given:
    rows = given[given.index("--data") + 1]
    print("rows", hashlib.sha256(Path(rows).read_bytes()).hexdigest() if Path(rows).is_file() else rows, flush=True)
def manifest(folder, step, names):
    files = {name: [len(b := (folder / name).read_bytes()), hashlib.sha256(b).hexdigest()] for name in names}
    (folder / ".m").write_text(json.dumps({"step": step, "max_steps": 3, "files": files, "experiment": {"run": 1}}))
    (folder / ".m").replace(folder / "manifest.json")
done = sorted((p for p in results.glob("checkpoint-*") if (p / "manifest.json").is_file()), key=lambda p: int(p.name[11:]))
step, weights = (int(done[-1].name[11:]), (done[-1] / "weights").read_bytes()) if done else (0, b"0" * 2500)
history = results / "history.json"
sessions = json.loads(history.read_text()) + [step] if history.is_file() else [step]
history.write_text(json.dumps(sessions))
print("from step", step, "token" if os.environ.get("HF_TOKEN") else "no token", flush=True)
while step < 3:
    time.sleep(float(os.environ.get("STEP_SECONDS", "0.2")))
    step += 1
    weights = (hashlib.sha256(weights).hexdigest().encode() * 40)[:2500]
    folder = results / f"checkpoint-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(weights)
    manifest(folder, step, ["weights"])
    print(f"step {step} of 3 ({step / 3:.0%}), loss {1 / step:.4g}, 1.5 s a step, 0:02 left", flush=True)
(results / "adapter").write_bytes(weights)
(results / "README.md").write_text("# The card\\n")
manifest(results, 3, ["adapter"])
(work / "runs/tiny").mkdir(parents=True, exist_ok=True)
(work / "runs/tiny/training.log").write_text("all that Axolotl printed")
(work / "runs/tiny/evaluation.json").write_text('{"right": 3}')
PY
"""


def make_script(scripts):
    """The training of a few seconds, in the place of the kit's."""
    scripts.mkdir(parents=True, exist_ok=True)
    (scripts / "train.sh").write_text(TRAIN.replace("PYTHON", sys.executable))
    (scripts / "train.sh").chmod(0o755)


def make_code(folder):
    """The archive that is sent."""
    scripts = folder / "source/scripts"
    make_script(scripts)
    with tarfile.open(folder / "code.tgz", "w:gz") as archive:
        archive.add(scripts.parent, arcname=".")
    make_command(folder / "bin")
    (folder / "rows.zip").write_text("rows" * 700)


def journey(folder, gpus=("A100", "L4"), patience=20.0):
    return Journey(
        colab=Colab(program=str(folder / "bin/colab")),
        folder=folder / "run",
        code=folder / "code.tgz",
        rows=folder / "rows.zip",
        gpus=gpus,
        token=os.environ.get("HF_TOKEN", ""),
        say=lambda text: print(text, flush=True),
        follow=lambda now, units: print(f"{now}, {units:.2f} units", flush=True),
        every=0.1,
        retry=0.1,
        patience=patience,
        settle=0.3,
        rates={"a100-40gb": 5.4, "a100-80gb": 7.52},
        part=PART,
    )


def main():
    folder = Path(sys.argv[1])
    trip = journey(folder)
    run = begun(trip.folder) or RunFile(config="tiny.yaml", commit="c" * 40, arguments=("tiny.yaml", "--data", "kit-in/rows.zip"))
    code = travel(trip, run).code
    print(arrive(trip, read_run(trip.folder)), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
