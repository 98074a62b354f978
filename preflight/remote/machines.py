"""Machines taken and given back. One that was asked for and did not answer may run and cost: it is looked for before another is taken."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from preflight.config.tiers import tier_of
from preflight.machine.gpu import Gpu
from preflight.remote.colab import (
    UNITS,
    UNNAMED,
    Colab,
    LoggedOutError,
    LostError,
    RefusedError,
    RemoteError,
    Session,
    TroubleError,
)
from preflight.remote.needs import Journey
from preflight.remote.state import PREFIX, RunFile

MOST_MACHINES = 6  # of one run: a machine that is lost each time is no way to train
TRIES = 5  # of stopping a machine, before a person has to
GPUS = {"T4": r"t4", "L4": r"l4", "A100": r"a100", "H100": r"h100", "G4": r"rtx-pro-6000"}  # names of `colab new --gpu`, tiers of the kit
PAGE = "in Colab's web page: Manage sessions"


class MayRunError(RemoteError):
    """A machine may run and cost, and nothing here can end it now."""


def take(journey: Journey, run: RunFile) -> RunFile:
    """Take a machine of the first kind that is to be had. One that was asked for before a kill, or without an answer, is looked for first.
    Raises RemoteError, TroubleError, LostError, OSError."""
    if run.session and (came := _asked_for(journey, run)):
        return _accept(journey, run, came)
    if run.machines >= MOST_MACHINES:
        raise RemoteError(f"{run.machines} machines were taken for this run, and each was lost", "run the same command later, or with another --gpu")
    usage = journey.colab.usage()
    if usage.balance <= 0:
        raise RemoteError(f"no compute units are left ({usage.balance:.2f})", UNITS)
    run = replace(run, balance=usage.balance if run.balance is None else run.balance)
    for gpu in journey.gpus:
        unnamed = tuple(one.endpoint for one in journey.colab.sessions() if one.name == UNNAMED)
        name = f"{PREFIX}{gpu.lower()}-{int(time.time()):x}-{run.machines}"
        run = journey.keep(replace(run, session=name, endpoint="", rate=0.0, since=time.time(), unnamed=unnamed))
        try:
            journey.colab.new(name, gpu)
        except RefusedError:
            _refuse_unnamed(journey, run, journey.colab.sessions())
            journey.say(f"No {gpu} is to be had now.")
            run = journey.keep(replace(run, session=""))
            continue
        run = journey.keep(replace(run, machines=run.machines + 1))
        came = _asked_for(journey, run)
        if came is None:
            raise LostError(name)
        run = _accept(journey, run, came)
        if run.session:
            return run
    raise RemoteError(f"none of {', '.join(journey.gpus)} is to be had now", "try again later, or name others: --gpu L4 --gpu T4")


def _asked_for(journey: Journey, run: RunFile) -> Session | None:
    """The machine that the run asked for last, waited for as long as one may still come. Raises MayRunError, TroubleError."""
    told = False
    while True:
        listed = journey.colab.sessions()
        if came := next((one for one in listed if one.name == run.session), None):
            return came
        _refuse_unnamed(journey, run, listed)
        left = run.since + journey.settle - time.time()
        if not 0 < left <= journey.settle:  # the second: a clock that was set back
            return None
        if not told:
            journey.say(f"No machine shows yet of what was asked for: looking for {left:.0f} s more whether one comes.")
            told = True
        time.sleep(min(journey.retry, left))


def unnamed_since(run: RunFile, listed: Sequence[Session]) -> list[Session]:
    """Machines without a name that were not there when the run asked for its own: one whose answer was lost looks like that."""
    return [one for one in listed if run.session and not run.endpoint and one.name == UNNAMED and one.endpoint not in run.unnamed]


def _refuse_unnamed(journey: Journey, run: RunFile, listed: Sequence[Session]) -> None:
    for one in unnamed_since(run, listed):
        raise MayRunError(
            f"the answer to `colab new` was lost, and since then a machine runs that `colab` has no name for, {one.endpoint} ({one.hardware}). It may be "
            f"the one that was asked for; {hourly(one.hardware, journey.rates)}. No other is taken while it runs",
            f"{ending(one)}; then run the same command. Is it yours, a notebook in the browser? The same command in a terminal asks",
        )


def hourly(hardware: str, rates: Mapping[str, float]) -> str:
    """What a machine takes, as far as that is known: `colab` names a kind of GPU, which can be several tiers."""
    known = [rate for tier, rate in rates.items() if tier.startswith(GPUS.get(hardware, hardware.lower()))]
    if not known:
        return "what it takes is not known"
    low, high = min(known), max(known)
    return f"it may take {low:.2f}{f' to {high:.2f}' if high > low else ''} units an hour"


def ending(session: Session) -> str:
    """How a person stops it. `colab stop` knows names alone."""
    if session.name != UNNAMED:
        return f"stop it with: colab stop -s {session.name}"
    stops = f"python -m preflight.remote --stop {session.endpoint}"
    return f"a notebook in the browser, or a start whose answer was lost: stop it with: {stops} (or {PAGE})"


def _accept(journey: Journey, run: RunFile, came: Session) -> RunFile:
    """Read back which GPU it is. One that was not asked for is given back: `colab` takes an A100 where it does not know a name."""
    run = journey.keep(replace(run, endpoint=came.endpoint))
    asked = run.session.removeprefix(PREFIX).partition("-")[0].upper()
    gpus = journey.colab.ask(run.session, "look")["gpus"]
    # capability is not asked: a name and its memory tell the tiers of Colab apart
    found = tier_of(Gpu(name=gpus[0][0], memory_gib=round(float(gpus[0][1]) / 1024, 1), compute_capability=(0, 0))) if gpus else None
    if found and found.name.startswith(GPUS.get(asked, asked.lower())):
        journey.say(f"A machine with {found.title} is here ({run.session}).")
        return journey.keep(replace(run, gpu=found.name))
    what = gpus[0][0] if gpus else "no GPU"
    journey.say(f"Asked for {asked}, got {what}: given back.")
    give_back(journey, run)
    return journey.keep(replace(run, session="", endpoint=""))


def give_back(journey: Journey, run: RunFile) -> None:
    """Stop the run's machine and see in the list that it is gone, again and again for a while. Raises MayRunError, OSError."""
    trouble = ""
    for attempt in range(TRIES):
        if attempt:
            journey.say(f"The machine is not stopped yet ({trouble}). Trying again in {journey.retry:.0f} s.")
            time.sleep(journey.retry)
        try:
            if not run.endpoint and (came := _asked_for(journey, run)):
                run = replace(run, endpoint=came.endpoint)
            if not run.endpoint or stop(journey.colab, journey.folder, run.session, run.endpoint):
                return
            trouble = "`colab stop` went well, and `colab sessions` still lists it"
        except (TroubleError, LoggedOutError) as error:
            trouble = str(error)
    hardware = run.session.removeprefix(PREFIX).partition("-")[0].upper()
    takes = f"it takes {run.rate:.2f} units an hour" if run.rate else hourly(hardware, journey.rates)
    raise MayRunError(
        f"THE MACHINE MAY STILL RUN: {run.session}{f' ({run.endpoint})' if run.endpoint else ''}; {takes}. {TRIES} tries to stop it failed: {trouble}",
        f"colab stop -s {run.session}, then `colab sessions`, which must not list it; or stop it {PAGE}. The same command tries again",
    )


def is_listed(journey: Journey, run: RunFile) -> bool:
    """Whether Colab lists the run's machine by its name. One whose name the command has forgotten, which it does where the machine once gave
    no answer, runs on and can't be steered from here any more: it is stopped. Raises RemoteError, TroubleError, OSError."""
    listed = journey.colab.sessions()
    if any(one.name == run.session for one in listed):
        return True
    if any(one.endpoint == run.endpoint for one in listed):
        journey.say(f"`colab` has forgotten the name of {run.endpoint}, which still runs: stopping it.")
        give_back(journey, run)
    return False


def stop(colab: Colab, scratch: Path, name: str, endpoint: str) -> bool:
    """Stop a machine, by its endpoint where the command has no name for it; whether it is gone. Raises RemoteError, TroubleError, OSError."""
    if name:
        with suppress(LostError):
            colab.stop(name)
    left = [one for one in colab.sessions() if one.endpoint == endpoint]
    if left and left[0].name == UNNAMED:
        colab.stop_endpoint(endpoint, scratch)
        left = [one for one in colab.sessions() if one.endpoint == endpoint]
    return not left


def still_running(colab: Colab, run: RunFile | None) -> list[Session]:
    """The kit's own machines that run and are not this run's, and those that this laptop does not know: a start that was cut leaves one."""
    mine = {run.session, run.endpoint} if run else set()
    return [one for one in colab.sessions() if one.name.startswith((PREFIX, UNNAMED)) and not mine & {one.name, one.endpoint}]
