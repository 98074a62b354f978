"""Provoke every fault that a rented machine has, on real training runs, and say what each cost: `make soak`, about 40 minutes.

Writes a table as docs/reliability.md shows it; exits 1 if a run was not survived. Needs root, for real mounts.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.support.drive import Disk, Drive, can_mount
from tests.support.sessions import SHORT, Machine

LAST, EVERY = SHORT["max_steps"], SHORT["save_steps"]
KILLS = 20


class Soak:
    def __init__(self, folder):
        self.folder, self.rows, self.machines = folder, [], []
        self.started = time.monotonic()

    def machine(self, name, **options):
        machine = Machine(self.folder / name / "workspace", **options)
        machine.workspace.parent.mkdir(parents=True)
        self.machines.append(machine)
        return machine

    def drive(self, machine):
        """Drive of this machine as a mount, which the settings ask for."""
        return Drive(machine.workspace.parent / "behind", machine.workspace / "drive")

    def row(self, fault, provoked, survived, lost):
        self.rows.append((fault, provoked, survived, lost))
        print(f"{time.monotonic() - self.started:6.0f} s  {'survived' if survived else 'NOT SURVIVED'}  {fault}: {lost}", flush=True)

    def ended(self, machine):
        """Whether the run came to its last step with the losses of one that nothing happened to, to the last digit."""
        return machine.losses() == self.losses and machine.preflight()["checkpoints"]["finished"]

    def run(self, only):
        reference = self.machine("reference")
        reference.run()
        self.losses = reference.losses()
        assert sorted(self.losses) == list(range(1, LAST + 1))
        for fault in (kills, vanishing, dropping_out, gone_for_good, full, read_only, erring, slow, hanging, harmed_files, another_split):
            if not only or fault.__name__ in only:
                fault(self)
        leaks = [leak for machine in self.machines for leak in machine.leaks()]
        self.row("a token in a file or an output", f"HF_TOKEN set in all {len(self.machines)} runs, every file searched", not leaks, "none found")
        return all(survived for _, _, survived, _ in self.rows)

    def table(self):
        lines = ["| fault | how it was provoked | survived | work lost |", "|---|---|---|---|"]
        return "\n".join(lines + [f"| {fault} | {how} | {'yes' if survived else 'NO'} | {lost} |" for fault, how, survived, lost in self.rows])


def kills(soak):
    """20 kills of one run after another: half of them anywhere, half in the middle of a save."""
    rng, lost, exact, done, machine = random.Random(11), [], [], 0, None
    while done < KILLS:
        machine = soak.machine(f"killed{done}")
        step = 0
        while done < KILLS and step + 2 * EVERY < LAST:
            report = machine.start()
            step = report["checkpoints"]["step"] + rng.choice([EVERY, 2 * EVERY])
            machine.wait_for_step(step)
            time.sleep(rng.random() * (0.03 if done % 2 else 1.2))
            reached = machine.kill()
            done += 1
            lost.append(reached - machine.preflight()["checkpoints"]["step"])
        machine.run()
        exact.append(soak.ended(machine))
    how = f"kill -9 of training and all it started, {KILLS} times in {len(exact)} runs, {KILLS // 2} of them within 30 ms of the start of a save"
    soak.row("a process that is killed", how, all(exact), f"at most {max(lost)} steps before the save that was cut off, which is one interval")


def vanishing(soak):
    machine = soak.machine("vanished", colab=True)
    drive = soak.drive(machine)
    mirrored = []
    for step in (18, 42):
        machine.start()
        machine.wait_for(lambda step=step: (machine.drive / f"checkpoint-{step}/manifest.json").exists())
        machine.vanish()
        mirrored.append(machine.preflight()["checkpoints"]["step"])
    machine.run()
    soak.row("a machine that vanishes", "everything but Drive deleted, twice in one run", soak.ended(machine), f"went on from step {mirrored}")
    drive.kill()
    drive.unmount()


def dropping_out(soak):
    machine = soak.machine("dropped", colab=True)
    drive = soak.drive(machine)
    machine.start()
    machine.wait_for_step(12)
    drive.kill()
    machine.wait_for_step(36)
    drive.unmount()
    drive.start()
    code = machine.process.wait()
    said = machine.log.read_text()
    there = (machine.drive / f"checkpoint-{LAST}/manifest.json").exists() and (machine.drive / "adapter_model.safetensors").exists()
    survived = code == 0 and there and soak.ended(machine) and said.count("has dropped out") == 1 and "is back" in said
    soak.row(
        "Drive that drops out and comes back",
        "the process of its FUSE mount killed at step 12 (Errno 107), mounted again at step 36",
        survived,
        "none",
    )
    drive.kill()
    drive.unmount()


def gone_for_good(soak):
    """Drive is gone to the end: training ends all the same, and the next session mirrors."""
    machine = soak.machine("gone", colab=True)
    drive = soak.drive(machine)
    machine.start()
    machine.wait_for_step(48)
    drive.kill()
    machine.wait_for(lambda: (machine.outputs / "manifest.json").exists())
    machine.wait_for(lambda: "Training continues" in machine.log.read_text())
    machine.kill()  # the mirror waits five minutes for Drive; the machine is given back before that
    drive.unmount()
    drive.start()
    before = machine.drive.exists() and (machine.drive / f"checkpoint-{LAST}").exists()
    finished = soak.ended(machine)
    there = (machine.drive / f"checkpoint-{LAST}/manifest.json").exists() and (machine.drive / "adapter_model.safetensors").exists()
    soak.row(
        "Drive that is gone when training ends",
        "its mount killed at step 48; mounted again in the next session",
        finished and there and not before,
        "none",
    )
    drive.kill()
    drive.unmount()


def refusing(soak, machine, provoke, mend, fault, how):
    """Drive refuses from step 6 on, and takes files again once training has ended."""
    machine.start()
    machine.wait_for(lambda: (machine.drive / "checkpoint-6/manifest.json").exists())
    provoke()
    machine.wait_for(lambda: (machine.outputs / "manifest.json").exists())
    mend()
    code = machine.process.wait()
    there = (machine.drive / f"checkpoint-{LAST}/manifest.json").exists()
    soak.row(fault, how, code == 0 and there and soak.ended(machine), "none")


def full(soak):
    machine = soak.machine("full", colab=True)
    disk = Disk(machine.workspace / "drive")
    refusing(soak, machine, disk.fill, disk.empty, "Drive that is full", "a tmpfs filled up (Errno 28) from step 6 to the end of training")
    disk.unmount()


def read_only(soak):
    machine = soak.machine("read-only", colab=True)
    disk = Disk(machine.workspace / "drive")
    how = "a tmpfs mounted read-only (Errno 30) from step 6 to the end of training"
    refusing(soak, machine, disk.read_only, disk.writable, "Drive that can only be read", how)
    disk.unmount()


def erring(soak):
    machine = soak.machine("erring", colab=True)
    drive = soak.drive(machine)
    how = "a FUSE mount that answers every write with Errno 5 from step 6 to the end of training"
    refusing(soak, machine, lambda: drive.faults(errno=5), drive.faults, "Drive that answers with errors", how)
    drive.kill()
    drive.unmount()


def slow(soak):
    machine = soak.machine("slow", colab=True)
    drive = soak.drive(machine)
    how = "a FUSE mount that takes 0.3 s for each write of 128 kB or less, from step 6 to the end of training"
    refusing(soak, machine, lambda: drive.faults(delay=0.3), drive.faults, "Drive that is slow", how)
    drive.kill()
    drive.unmount()


def hanging(soak):
    """Drive's process stops at step 6 and never answers: training ends all the same, and the next session mirrors."""
    machine = soak.machine("hanging", colab=True)
    drive = soak.drive(machine)
    machine.start()
    machine.wait_for(lambda: (machine.drive / "checkpoint-6/manifest.json").exists())
    os.kill(drive.process.pid, signal.SIGSTOP)
    machine.wait_for(lambda: (machine.outputs / "manifest.json").exists())
    since = time.monotonic()
    machine.process.wait()
    waited = time.monotonic() - since
    said = machine.log.read_text()
    codes = [finding["code"] for finding in machine.preflight()["findings"]]
    os.kill(drive.process.pid, signal.SIGCONT)
    told = f"python -m preflight.mirror {machine.outputs}" in said and "drive.no-answer" in codes
    finished = soak.ended(machine)
    there = (machine.drive / f"checkpoint-{LAST}/manifest.json").exists() and (machine.drive / "adapter_model.safetensors").exists()
    how = "the process of its FUSE mount stopped at step 6, to the end of training and the next preflight"
    soak.row("Drive that hangs", how, told and finished and there, f"none; training ended {waited:.0f} s after its adapter was saved")
    drive.kill()
    drive.unmount()


def harmed_files(soak):
    """Each file of a real checkpoint, harmed in five ways: the one before it has to be taken."""
    machine = soak.machine("harmed")
    machine.start()
    machine.wait_for(lambda: (machine.outputs / "checkpoint-18/manifest.json").exists())
    machine.kill()
    machine.drive.parent.rename(machine.workspace / "elsewhere")  # the copies on Drive would be fetched
    whole = [path for path in sorted(machine.outputs.glob("checkpoint-*"), key=lambda path: int(path.name[11:])) if (path / "manifest.json").exists()]
    before, newest = whole[-2:]
    harms = {
        "missing": lambda path: path.unlink(),
        "empty": lambda path: path.write_bytes(b""),
        "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "one bit changed": flip,
        "of another step": lambda path: path.write_bytes((before / path.name).read_bytes()),
    }
    taken = []
    for path in sorted(newest.iterdir()):
        original = path.read_bytes()
        for name, harm in harms.items():
            path.write_bytes(original)
            harm(path)
            if path.exists() and path.read_bytes() == original:
                continue  # the same file in both steps
            resumed = Path(machine.preflight(output_dir=str(machine.workspace / "nowhere" / name))["checkpoints"]["resume_from"])
            shutil.rmtree(machine.workspace / "nowhere", ignore_errors=True)
            # a manifest that is gone leaves the files to speak for themselves, and they are whole
            good = resumed == before or (path.name == "manifest.json" and resumed == newest)
            taken.append((path.name, name, good))
        path.write_bytes(original)
    wrong = [f"{file} {harm}" for file, harm, good in taken if not good]
    how = f"{len({file for file, *_ in taken})} files of a real checkpoint, each missing, empty, cut, with one bit changed, of another step: {len(taken)} cases"
    soak.row("a checkpoint with a bad file", how, not wrong, ", ".join(wrong) or "one interval: the checkpoint before it was taken each time")


def flip(path):
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def another_split(soak):
    """The step is split in another way after each stop, as another GPU would."""
    machine = soak.machine("split")
    for step, split in ((18, (2, 1)), (36, (1, 2))):
        machine.start(micro_batch_size=split[0], gradient_accumulation_steps=split[1])
        machine.wait_for(lambda step=step: (machine.outputs / f"checkpoint-{step}/manifest.json").exists())
        machine.kill()
    machine.run(micro_batch_size=2, gradient_accumulation_steps=1)
    losses = machine.losses()
    far = max(abs(losses[step] - self_loss) for step, self_loss in soak.losses.items())
    survived = sorted(losses) == sorted(soak.losses) and far < 0.05
    soak.row(
        "another GPU after a stop",
        "2 x 1 sequences a step, then 1 x 2, then 2 x 1, killed between",
        survived,
        f"none; the losses differ by at most {far:.4f}",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help="only these, by their function's name")
    args = parser.parse_args()
    if not can_mount():
        print("soak: real mounts need root and /dev/fuse", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder))
        survived = soak.run(args.faults)
        print(f"\n{soak.table()}\n\n{(time.monotonic() - soak.started) / 60:.0f} minutes")
    return 0 if survived else 1


if __name__ == "__main__":
    raise SystemExit(main())
