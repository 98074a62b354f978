"""The run itself, as steps that look before they do: whatever was interrupted, the same steps go on from what is there."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from preflight.config.rates import keep_rate
from preflight.remote.bring import bring_finished, bring_small, described, send_checkpoint
from preflight.remote.colab import LoggedOutError, LostError, RemoteError, TroubleError
from preflight.remote.follow import read_log
from preflight.remote.machines import give_back, is_listed, take
from preflight.remote.needs import Journey
from preflight.remote.on_machine import IN
from preflight.remote.state import ROWS, RunFile, read_run

ARCHIVE = "kit.tgz"  # the committed code, on the machine


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
            run = journey.keep(replace(run, session="", endpoint="", gpu=""))
        except (TroubleError, LoggedOutError) as error:  # a login whose token can't be renewed for want of a network looks like none
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
    try:
        return _advance(journey, run)
    except LostError as error:  # says the command, which then forgets the name: what runs is in Colab's list
        run = read_run(journey.folder) or run
        if is_listed(journey, run):
            raise TroubleError(f"{error}, and Colab lists the machine") from None
        raise


def _advance(journey: Journey, run: RunFile) -> RunFile:
    if run.endpoint and not is_listed(journey, run):
        raise LostError(run.session)
    if not run.gpu:
        return take(journey, run)
    look = journey.colab.ask(run.session, "look")
    if not look["started"]:
        return _send(journey, run, look)
    return _follow(journey, run, look)


def _send(journey: Journey, run: RunFile, look: Mapping[str, Any]) -> RunFile:
    """Code, rows, the newest checkpoint, the token; then the start."""
    line, scratch = journey.line(run), journey.folder / ".sending"
    if look["commit"] != run.commit:
        line.send(journey.code, f"{IN}/{ARCHIVE}", look, scratch)
        journey.colab.ask(run.session, "unpack", name=ARCHIVE, commit=run.commit)
    if journey.rows:
        line.send(journey.rows, f"{IN}/{ROWS}", look, scratch)
    if sent := send_checkpoint(line, journey.home, look):
        journey.say(f"{sent} is on the machine again.")
    if journey.token:
        journey.colab.upload_secret(run.session, journey.token, "token")
    run = journey.keep(replace(run, started=True))  # before it is: from here on its rows are those that were sent
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
    bring_small(line, look["small"], journey.home)  # before what takes long: the history, which a next machine goes on with, too
    for name in described(look, journey.home):
        if bring_finished(line, name, journey.home):
            journey.say(f"{'The adapter' if name == '.' else name} is at home, verified.")
    if over:
        code = look["ended"] if look["ended"] is not None else 1
        return journey.keep(replace(run, code=code))
    journey.follow(read_log(look["tail"]), run.rate * (time.time() - run.since) / 3600)
    time.sleep(journey.every)
    return run


def _read_rate(journey: Journey, run: RunFile) -> RunFile:
    """What this GPU takes an hour, where it is the account's only machine."""
    usage = journey.colab.usage()
    if usage.machines != 1 or usage.per_hour <= 0:
        return run
    keep_rate(journey.folder.parent, run.gpu, usage.per_hour)
    return journey.keep(replace(run, rate=usage.per_hour))


def arrive(journey: Journey, run: RunFile) -> str:
    """Give the machine back, whatever happened; what the run cost, as a sentence. Raises MayRunError where it may still run, OSError."""
    if run.session:
        give_back(journey, run)
        run = journey.keep(replace(run, session="", endpoint=""))
        journey.say("The machine is stopped.")
    if run.balance is None:
        return ""
    try:
        after = journey.colab.usage().balance
    except (TroubleError, RemoteError) as error:
        return f"What it cost is not known: {error}. There were {run.balance:.2f} compute units before; `colab usage` says what is left."
    spent = f"It cost {run.balance - after:.2f} compute units: {run.balance:.2f} before, {after:.2f} after, of the whole account."
    return f"{spent} {run.estimate}".rstrip()


def begun(folder: Path) -> RunFile | None:
    """The run in this folder that has not come to its end: one that has is begun anew. Raises OSError."""
    run = read_run(folder)
    return run if run and (run.code is None or run.session) else None
