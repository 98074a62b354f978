#!/usr/bin/env python3
"""A stand-in for the `colab` command of google-colab-cli 0.7.5: its commands, options, outputs and exit codes, as read in that package's
source and seen of the installed command. Its machines are folders and processes of this machine.

The folder COLAB_STANDIN holds account.json: the balance, units an hour by GPU, what is not to be had, and `faults`: what happens at the
n-th call, or at the next ones of a kind (its command and its path or function): a list is used up, a text once. `log` there has a line for each call. Only what the kit calls is here.
"""

import argparse
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(os.environ.get("COLAB_STANDIN", "."))
NAMES = {"A100": ("NVIDIA A100-SXM4-40GB", 40960), "T4": ("Tesla T4", 15360), "L4": ("NVIDIA L4", 23034), "H100": ("NVIDIA H100 80GB HBM3", 81559)}
SMI = '#!/bin/sh\necho "{0}, {1}"\n'


def make_command(folder):
    """A `colab` in the folder, for a PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "colab"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -S {Path(__file__).resolve()} "$@"\n')
    command.chmod(0o755)
    return command


def account():
    return json.loads((ROOT / "account.json").read_text())


def keep(held):
    aside = ROOT / ".account.json.new"
    aside.write_text(json.dumps(held, indent=1))
    aside.replace(ROOT / "account.json")


def change(**changes):
    """Change the account while a laptop may be calling."""
    with (ROOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keep(account() | changes)


def make_account(root, **changes):
    """What a test begins with."""
    root.mkdir(parents=True, exist_ok=True)
    rates = {"A100": 5.4, "T4": 1.19, "L4": 1.71, "H100": 11.3}
    held = {
        "balance": 600.0,
        "rates": rates,
        "unavailable": [],
        "gives": {},
        "faults": {},
        "calls": 0,
        "machines": {},
        "logged_in": True,
        "kill_each": "",
        "kill_kinds": [""],
        "killed": [],
    } | changes
    (root / "account.json").write_text(json.dumps(held))


def end_machines(root):
    """Whatever a test that failed has left running."""
    for path in root.glob("gpu-*/content/kit-in/pid"):
        end(int(path.read_text()))


def say(text, *, error=False):
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


def die(code, text, *, error=False):
    say(text, error=error)
    sys.exit(code)


def parse(argv):
    parser = argparse.ArgumentParser(prog="colab")
    parser.add_argument("--config")  # a file of sessions, in the place of ~/.config/colab-cli/sessions.json
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("usage", "sessions", "version"):
        commands.add_parser(name)
    for name in ("new", "stop", "upload", "download", "exec"):
        command = commands.add_parser(name)
        command.add_argument("-s", "--session")
        if name == "new":
            command.add_argument("--gpu")
            command.add_argument("--tpu")
            command.add_argument("--high-mem", action="store_true")
        if name == "exec":
            command.add_argument("-f", "--file")
            command.add_argument("--output-image")
            command.add_argument("--timeout", type=float, default=30.0)
            command.add_argument("--env", action="append")
        if name == "upload":
            command.add_argument("local_path")
            command.add_argument("remote_path")
        if name == "download":
            command.add_argument("remote_path")
            command.add_argument("local_path")
    return parser.parse_args(argv)


def lose(held, name):
    """The machine is taken away, and whatever runs there."""
    machine = held["machines"].pop(name)
    for pid in (ROOT / machine["endpoint"] / "pids").read_text().split():
        end(int(pid))
    pid = ROOT / machine["endpoint"] / "content/kit-in/pid"
    if pid.is_file():
        end(int(pid.read_text()))
    import shutil  # not above: each call starts Python, and few need it

    shutil.rmtree(ROOT / machine["endpoint"])


def end(pid):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def spend(held):
    """Units go while machines run: a minute's worth at each call, so that no test has to wait."""
    held["balance"] -= sum(held["rates"].get(machine["gpu"], 0) for machine in held["machines"].values()) / 60


def main():
    args = parse(sys.argv[1:])
    with (ROOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = account()
        held["calls"] += 1
        number = held["calls"]
        args.code = sys.stdin.read() if args.command == "exec" else ""
        key = " ".join([args.command, getattr(args, "remote_path", ""), args.code.rstrip().rpartition("\n")[2].partition(",")[0]])
        if args.command in ("sessions", "usage"):
            key += f"after {held.get('last', 'nothing')}"
        held["last"] = args.command
        due = next((name for name in held["faults"] if name == str(number) or key.startswith(name)), None)
        fault = held["faults"].pop(due, "")
        if isinstance(fault, list):
            fault, *rest = fault
            held["faults"] |= {due: rest} if rest else {}
        if (
            held["kill_each"] and key not in held["killed"] and key.startswith(tuple(held["kill_kinds"]))
        ):  # the laptop dies the first time that a call of this kind is made
            held["killed"].append(key)
            fault = fault or held["kill_each"]
        spend(held)
        keep(held)
        with (ROOT / "log").open("a") as log:
            log.write(json.dumps([number, fault, *sys.argv[1:]]) + "\n")
        if fault == "kill-before":
            os.kill(os.getppid(), signal.SIGKILL)
            sys.exit(1)
        if fault == "network":
            die(
                1,
                "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='colab.research.google.com', port=443): Max retries exceeded",
                error=True,
            )
        if fault == "lose":
            for name in list(held["machines"]):
                lose(held, name)
            keep(held)
        if not held["logged_in"] or fault == "logged-out":
            say("\nTo authorize colab-cli, visit this URL in any browser:\n\n  https://accounts.google.com/o/oauth2/auth\n", error=True)
            say("Enter the authorization code: ", error=True)
            if args.command == "usage":
                die(1, "[colab] Warning: failed to fetch compute-unit info: EOF when reading a line", error=True)
            die(1, "Aborted.", error=True)
        try:
            globals()[f"do_{args.command}"](args, held, fault)
        finally:
            if fault == "kill-after":
                os.kill(os.getppid(), signal.SIGKILL)


def machine_of(args, held):
    """The folder of the machine that is called so; of --config, whose tokens the real command fetches anew, only the endpoint counts."""
    if args.config:
        endpoint = json.loads(Path(args.config).read_text()).get(args.session, {}).get("endpoint")
        args.session = next((name for name, machine in held["machines"].items() if machine["endpoint"] == endpoint), "")
    elif held["machines"].get(args.session, {}).get("unknown"):
        args.session = ""
    if args.session not in held["machines"]:
        die(0 if args.command == "stop" else 1, f"[colab] Session '{args.session}' not found.")
    return ROOT / held["machines"][args.session]["endpoint"]


def do_usage(args, held, fault):
    rate = sum(held["rates"].get(machine["gpu"], 0) for machine in held["machines"].values())
    say(f"Current balance: {held['balance']:.2f} compute units\nUsage rate: {rate:.2f}/hr\nActive assignments: {len(held['machines'])}")


def do_version(args, held, fault):
    say("Version: 0.7.5")


def do_sessions(args, held, fault):
    if not held["machines"]:
        say("[colab] No active sessions found on server.")
    for name, machine in held["machines"].items():
        shown = "?" if machine.get("unknown") else name
        say(f"[{shown}] {machine['endpoint']} | Hardware: {machine['gpu']} | Shape: Standard | Variant: GPU")


def do_new(args, held, fault):
    asked = args.gpu.upper() if args.gpu and args.gpu.upper() in (*NAMES, "G4") else "A100"
    say(f"[colab] Creating session '{args.session}'...")
    if asked in held["unavailable"]:
        die(
            1,
            "[colab] Allocation refused (precondition failed). This can mean too many active sessions, or a temporary usage or capacity limit.",
            error=True,
        )
    gpu = held["gives"].get(asked, asked)
    endpoint = f"gpu-{gpu.lower()}-s-{held['calls']}"
    (ROOT / endpoint / "bin").mkdir(parents=True)
    (ROOT / endpoint / "content").mkdir()
    (ROOT / endpoint / "pids").write_text("")
    smi = ROOT / endpoint / "bin/nvidia-smi"
    smi.write_text(SMI.format(*NAMES[gpu]))
    smi.chmod(0o755)
    held["machines"][args.session] = {"endpoint": endpoint, "gpu": gpu, "unknown": fault.startswith("nameless")}
    keep(held)
    if fault == "nameless":  # assigned at Google, and the command dies before it stores the name
        die(1, "requests.exceptions.ConnectionError: ('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))")
    if fault == "late":  # the name is stored, and the command is killed before it says so
        die(1, "Aborted.", error=True)
    if fault == "nameless-kill":
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(1)
    say("[colab] Session READY.")


def do_stop(args, held, fault):
    machine_of(args, held)
    say(f"[colab] Stopping session '{args.session}'...")
    if fault == "stays":
        held["machines"][args.session]["unknown"] = True  # the name is gone, the machine is not
    else:
        lose(held, args.session)
    keep(held)
    say("[colab] Session terminated.")


def do_upload(args, held, fault):
    target = machine_of(args, held) / args.remote_path
    content = Path(args.local_path).read_bytes()
    if not target.parent.is_dir():
        die(1, "[colab] Upload failed: 500 Server Error")
    if fault == "cut":
        target.write_bytes(content[: len(content) // 2])
        die(1, "[colab] Upload failed: ('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))")
    target.write_bytes(content)
    say(f"[colab] Uploaded '{args.local_path}' to '{args.remote_path}'")


def do_download(args, held, fault):
    source = machine_of(args, held) / args.remote_path
    if not source.is_file():
        die(1, f"[colab] Download failed: File or directory not found: {args.remote_path}")
    content = source.read_bytes()
    Path(args.local_path).write_bytes(content[: len(content) // 2] if fault == "short" else content)
    say(f"[colab] Downloaded '{args.remote_path}' to '{args.local_path}'")


def in_a_kernel(code, folder, environment):
    """Run it in a process of its own, which costs no start of Python; what it said, and what went wrong."""
    with os.fdopen(os.memfd_create("out"), "w+") as out, os.fdopen(os.memfd_create("err"), "w+") as err:
        if not (number := os.fork()):
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            try:
                exec(compile(code, "<cell>", "exec"), {"__name__": "__main__"})
                sys.stdout.flush()
            except BaseException:
                import traceback

                traceback.print_exc()
            os._exit(0)
        os.waitpid(number, 0)
        out.seek(0)
        err.seek(0)
        return out.read(), err.read()


def do_exec(args, held, fault):
    machine = machine_of(args, held)
    if fault == "prune":  # a 401 or 404 of the machine: the real command forgets the name and gives nothing back
        held["machines"][args.session]["unknown"] = True
        keep(held)
        die(1, f"[colab] Session '{args.session}' appears to be lost (404/401). Cleaning up.")
    code = args.code
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COLAB_", "HF_TOKEN"))}
    environment["PATH"] = f"{machine / 'bin'}:{environment['PATH']}"
    said, wrong = in_a_kernel(code, machine / "content", environment)
    history = ROOT / "history.jsonl"
    with history.open("a") as file:  # the real one keeps code and outputs, whatever they hold
        file.write(json.dumps({"time": time.time(), "code": code, "outputs": said}) + "\n")
    sys.stdout.write(said)
    sys.stderr.write(wrong)  # and exits 0 where the code raised


if __name__ == "__main__":
    main()
