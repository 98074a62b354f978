"""The run itself, as steps that look before they do: whatever was interrupted, the same steps go on from what is there."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preflight.config.tiers import tier_of
from preflight.files import Progress, silent
from preflight.machine.gpu import Gpu
from preflight.remote.bring import PART, Line, bring_finished, bring_small, described, send_checkpoint
from preflight.remote.colab import UNITS, Colab, LostError, RefusedError, RemoteError, Session, TroubleError
from preflight.remote.follow import Progressed, read_log
from preflight.remote.on_machine import IN
from preflight.remote.state import HOME, PREFIX, RunFile, keep_rate, read_run, write_run

EVERY, RETRY, PATIENCE = 30.0, 20.0, 2 * 3600.0  # seconds: between two looks, after trouble, and of trouble without a break
ARCHIVE = "kit.tgz"  # the committed code, on the machine
MOST_MACHINES = 6  # of one run: a machine that is lost each time is no way to train
GPUS = {"T4": r"t4", "L4": r"l4", "A100": r"a100", "H100": r"h100", "G4": r"rtx-pro-6000"}  # names of `colab new --gpu`, tiers of the kit


@dataclass(frozen=True, kw_only=True)
class Journey:
    """What a run needs: the command, what to send, where its things lie here, whom to tell."""

    colab: Colab
    folder: Path  # of this run, on the laptop
    code: Path  # the committed code, as an archive
    rows: Path | None  # the packed rows
    gpus: Sequence[str]  # in order of preference, as `colab new` calls them
    token: str = field(default="", repr=False)
    say: Callable[[str], None]
    follow: Callable[[Progressed, float], None]  # where training stands, and the units so far; 0 where the rate is not known
    progress: Progress = silent
    every: float = EVERY
    retry: float = RETRY
    patience: float = PATIENCE
    part: int = PART

    @property
    def home(self) -> Path:
        """Where checkpoints, adapter, evaluation and events come to."""
        return self.folder / HOME

    def line(self, run: RunFile) -> Line:
        """The way to the machine that the run is on."""
        return Line(colab=self.colab, session=run.session, progress=self.progress, part=self.part)


def travel(journey: Journey, run: RunFile) -> RunFile:
    """Train on one machine, or one after another, until all is at home; the run with its exit code. Stops no machine: `arrive` does.
    Raises RemoteError, OSError."""
    trouble_since = 0.0
    while run.code is None:
        try:
            run = _step(journey, run)
            trouble_since = 0.0
        except LostError:
            journey.say(f"The machine is gone ({run.session}). What is at home stays; a new one goes on from the newest complete checkpoint.")
            run = _keep(journey, replace(run, session="", endpoint="", gpu=""))
        except TroubleError as error:
            run = read_run(journey.folder) or run  # a machine asked for within the step is this run's: it must not be taken twice
            trouble_since = trouble_since or time.time()
            if time.time() - trouble_since > journey.patience:
                raise RemoteError(
                    f"no way to the machine for {journey.patience / 3600:.0f} h: {error}", "run the same command when the network is back"
                ) from None
            journey.say(f"{error}. Trying again every {journey.retry:.0f} s.")
            time.sleep(journey.retry)
    return run


def _step(journey: Journey, run: RunFile) -> RunFile:
    if run.session and not _is_alive(journey, run):
        raise LostError(run.session)
    if not run.endpoint:
        return _take(journey, run)
    look = journey.colab.ask(run.session, "look")
    if not look["started"]:
        return _send(journey, run, look)
    return _follow(journey, run, look)


def _is_alive(journey: Journey, run: RunFile) -> bool:
    """Whether Colab lists the machine. One that it lists and the command does not know by its name can't be steered from here any more."""
    for session in journey.colab.sessions():
        if session.name == run.session:
            return True
        if run.endpoint and session.endpoint == run.endpoint:
            fix = "stop it in Colab's web page: Manage sessions; then run the same command"
            raise RemoteError(f"the machine {session.endpoint} still runs, and `colab` has forgotten its name", fix)
    return False


def _take(journey: Journey, run: RunFile) -> RunFile:
    """Take a machine of the first kind that is to be had. A session of this name that is there already was asked for before a kill."""
    if run.session and (came := _named(journey, run.session)):
        return _accept(journey, run, came)
    if run.machines >= MOST_MACHINES:
        raise RemoteError(f"{run.machines} machines were taken for this run, and each was lost", "run the same command later, or with another --gpu")
    usage = journey.colab.usage()
    if usage.balance <= 0:
        raise RemoteError(f"no compute units are left ({usage.balance:.2f})", UNITS)
    run = replace(run, balance=usage.balance if run.balance is None else run.balance)
    for gpu in journey.gpus:
        name = f"{PREFIX}{gpu.lower()}-{int(time.time()):x}-{run.machines}"
        run = _keep(journey, replace(run, session=name, endpoint="", rate=0.0, since=time.time()))
        try:
            journey.colab.new(name, gpu)
        except RefusedError:
            journey.say(f"No {gpu} is to be had now.")
            run = _keep(journey, replace(run, session=""))
            continue
        run = _keep(journey, replace(run, machines=run.machines + 1))
        came = _named(journey, name)
        if came is None:
            raise LostError(name)
        run = _accept(journey, run, came)
        if run.session:
            return run
    raise RemoteError(f"none of {', '.join(journey.gpus)} is to be had now", "try again later, or name others: --gpu L4 --gpu T4")


def _named(journey: Journey, name: str) -> Session | None:
    return next((session for session in journey.colab.sessions() if session.name == name), None)


def _accept(journey: Journey, run: RunFile, came: Session) -> RunFile:
    """Read back which GPU it is. One that was not asked for is given back: `colab` takes an A100 where it does not know a name."""
    asked = run.session.removeprefix(PREFIX).partition("-")[0].upper()
    gpus = journey.colab.ask(run.session, "look")["gpus"]
    # capability is not asked: a name and its memory tell the tiers of Colab apart
    found = tier_of(Gpu(name=gpus[0][0], memory_gib=round(float(gpus[0][1]) / 1024, 1), compute_capability=(0, 0))) if gpus else None
    if found and found.name.startswith(GPUS.get(asked, asked.lower())):
        journey.say(f"A machine with {found.title} is here ({run.session}).")
        return _keep(journey, replace(run, endpoint=came.endpoint, gpu=found.name))
    what = gpus[0][0] if gpus else "no GPU"
    journey.say(f"Asked for {asked}, got {what}: given back.")
    give_back(journey, replace(run, endpoint=came.endpoint))
    return _keep(journey, replace(run, session="", endpoint=""))


def _send(journey: Journey, run: RunFile, look: Mapping[str, Any]) -> RunFile:
    """Code, rows, the newest checkpoint, the token; then the start."""
    line, received, scratch = journey.line(run), look["received"], journey.folder / ".sending"
    if look["commit"] != run.commit:
        line.send(journey.code, f"{IN}/{ARCHIVE}", received, scratch)
        journey.colab.ask(run.session, "unpack", name=ARCHIVE, commit=run.commit)
    if journey.rows and received.get("rows.zip") != journey.rows.stat().st_size:
        line.send(journey.rows, f"{IN}/rows.zip", received, scratch)
    if sent := send_checkpoint(line, journey.home, received):
        journey.say(f"{sent} is on the machine again.")
    if journey.token:
        journey.colab.upload_secret(run.session, journey.token, "token")
    journey.colab.ask(run.session, "start", arguments=list(run.arguments), token_file="token" if journey.token else "")
    journey.say("Installing, judging again on the machine, then training.")
    return run


def _follow(journey: Journey, run: RunFile, look: Mapping[str, Any]) -> RunFile:
    """One look: bring what is new, say where it stands, keep the rate. At the end all of it comes home."""
    line = journey.line(run)
    if not run.rate:
        run = _read_rate(journey, run)
    over = look["ended"] is not None or not look["running"]
    if over:
        look = journey.colab.ask(run.session, "look")  # what was written between
    for name in described(look, journey.home):
        if bring_finished(line, name, journey.home):
            journey.say(f"{'The adapter' if name == '.' else name} is at home, verified.")
    bring_small(line, look["small"], journey.home)
    if over:
        code = look["ended"] if look["ended"] is not None else 1
        return _keep(journey, replace(run, code=code))
    journey.follow(read_log(look["tail"]), run.rate * (time.time() - run.since) / 3600)
    time.sleep(journey.every)
    return run


def _read_rate(journey: Journey, run: RunFile) -> RunFile:
    """What this GPU takes an hour, where it is the account's only machine."""
    usage = journey.colab.usage()
    if usage.machines != 1 or usage.per_hour <= 0:
        return run
    keep_rate(journey.folder.parent, run.gpu, usage.per_hour)
    return _keep(journey, replace(run, rate=usage.per_hour))


def _keep(journey: Journey, run: RunFile) -> RunFile:
    write_run(journey.folder, run)
    return run


def give_back(journey: Journey, run: RunFile) -> None:
    """Stop the machine and see that it is gone. Raises RemoteError where it still runs, TroubleError where nobody knows."""
    for left in (2, 1, 0):
        with suppress(LostError):
            journey.colab.stop(run.session)
        still = [one for one in journey.colab.sessions() if one.name == run.session or (run.endpoint and one.endpoint == run.endpoint)]
        if not still:
            return
        if left:
            time.sleep(min(journey.retry, 5))
    raise RemoteError(f"the machine {still[0].endpoint} still runs after `colab stop`", "stop it in Colab's web page: Manage sessions")


def arrive(journey: Journey, run: RunFile) -> str:
    """Give the machine back, whatever happened; what the run cost, as a sentence. Raises RemoteError, TroubleError."""
    if run.session:
        for attempt in range(5):
            try:
                give_back(journey, run)
                break
            except TroubleError:
                if attempt == 4:
                    raise
                time.sleep(journey.retry)
        run = _keep(journey, replace(run, session="", endpoint=""))
        journey.say("The machine is stopped.")
    if run.balance is None:
        return ""
    after = journey.colab.usage().balance
    spent = f"It cost {run.balance - after:.2f} compute units: {run.balance:.2f} before, {after:.2f} after, of the whole account."
    return f"{spent} {run.estimate}".rstrip()


def still_running(colab: Colab, run: RunFile | None) -> list[Session]:
    """The kit's own machines that run and are not this run's, and those that this laptop does not know: a start that was cut leaves one."""
    mine = {run.session, run.endpoint} if run else set()
    return [one for one in colab.sessions() if one.name.startswith((PREFIX, "?")) and not mine & {one.name, one.endpoint}]


def begun(folder: Path) -> RunFile | None:
    """The run in this folder that has not come to its end: one that has is begun anew. Raises OSError."""
    run = read_run(folder)
    return run if run and (run.code is None or run.session) else None
