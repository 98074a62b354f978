"""What touches a disk that may hang runs in a process of its own, with a limit to its silence.

An access to a Drive whose process has stopped waits for ever, and once the request has been read not even SIGKILL ends the wait: the
process that asked has to be left behind. Standard library only: the mirror's process uses it.
"""

import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from preflight.files import CHECKOUT, Progress, silent

P = ParamSpec("P")
T = TypeVar("T")

LIMIT = 60  # seconds without an answer, without a system call and without computing
SAID_AFTER = 3  # seconds of it before the wait is shown
MAY_HANG = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "lustre", "glusterfs", "davfs")  # file systems that ask somebody else
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class UnansweredError(TimeoutError):
    """A disk has not answered for LIMIT seconds."""

    def __init__(self, mount: str) -> None:
        super().__init__(errno.ETIMEDOUT, f"it has not answered for {LIMIT} s", mount)


def answering(step: Callable[P, T], *places: Path | str, progress: Progress = silent) -> Callable[P, T]:
    """`step`, or, where a place lies on a disk that may hang, a call of it in a process of its own.

    That raises what the step raises, and `UnansweredError` once the process has done nothing for LIMIT seconds. A callable among the arguments
    is called here, and its answer is not waited for; the step and all else have to be picklable.
    """
    hanging = next((found for place in places if (found := mount_that_may_hang(place))), None)
    if hanging is None:
        return step

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return _ask(hanging, progress, step, args, kwargs)  # type: ignore[no-any-return]  # through a pipe

    return call


def mount_that_may_hang(place: Path | str) -> tuple[str, str] | None:
    """Number and folder of the mount that a path leads into, if its file system is one that asks somebody else; it is not asked itself."""
    mounts = _mounts()
    reached, left = Path("/"), list(Path(place).absolute().parts[1:])
    for _ in range(1000):  # links may go in a circle
        if not left:
            break
        reached = Path(os.path.normpath(reached / left.pop(0)))
        if found := mounts.get(str(reached)):
            return found
        if reached.is_symlink():
            left = [*reached.readlink().parts, *left]
            reached = reached.parent
    return None


def _mounts() -> dict[str, tuple[str, str]]:
    """Number and folder, by folder, of each mount that may hang, the root left out; of none where the system does not say."""
    found = dict[str, tuple[str, str]]()
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            before, _, after = line.partition(" - ")  # proc(5)
            number, folder = (before.split(" ")[field] for field in (0, 4))
            for character in (" ", "\t", "\n", "\\"):
                folder = folder.replace(f"\\{ord(character):03o}", character)
            found.pop(folder, None)  # what is mounted over another hides it
            if folder != "/" and after.startswith(MAY_HANG):
                found[folder] = (number, folder)
    return found


class _Child:
    """A process that does one step after another."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        paths = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-c", f"from {__name__} import serve; serve({theirs.fileno()}, {os.getpid()})"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=os.environ | {"PYTHONPATH": paths})
        theirs.close()
        self.owner = os.getpid()

    @property
    def usable(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None

    def give_up(self) -> None:
        """Kill it, without waiting for an end that may never come."""
        self.process.kill()
        self.connection.close()

    def activity(self) -> tuple[str, ...]:
        """Something that changes while the process computes or its system calls come back; the same for ever where that can't be seen."""
        try:
            used = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            return (*used[11:13], Path(f"/proc/{self.process.pid}/io").read_text(encoding="ascii"))
        except OSError:
            return ()


_child: _Child | None = None
_hung: dict[tuple[str, str], tuple[float, _Child]] = {}  # by mount: since when, and who was left behind


def _ask(mount: tuple[str, str], progress: Progress, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    global _child
    if mount in _hung:
        since, left_behind = _hung[mount]
        if left_behind.process.poll() is None or time.monotonic() - since < LIMIT:
            raise UnansweredError(mount[1])
        del _hung[mount]
    if _child is None or not _child.usable:
        _child = _Child()
    asked = _child
    try:
        return _wait(asked, mount, progress, (step, Path.cwd(), args, kwargs))
    except _RaisedError as raised:
        raise raised.error from None
    except BaseException as error:  # Ctrl-C among them
        _child = None
        asked.give_up()
        if isinstance(error, UnansweredError):
            _hung[mount] = time.monotonic(), asked
        raise


class _RaisedError(Exception):
    """What the step itself raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _wait(child: _Child, mount: tuple[str, str], progress: Progress, request: tuple[Any, ...]) -> Any:
    step, folder, args, kwargs = request
    given = dict(enumerate(args)) | kwargs
    called = {name: value for name, value in given.items() if callable(value)}
    child.connection.send((step, folder, {name: None if name in called else value for name, value in given.items()}, list(called)))
    seen, since = child.activity(), time.monotonic()
    while True:
        if child.connection.poll(1):
            try:
                kind, value = child.connection.recv()
            except EOFError:
                raise OSError(errno.EIO, f"the process that asked it ended ({child.process.wait()})", mount[1]) from None
            if kind == "returned":
                return value
            if kind == "raised":
                raise _RaisedError(value)
            name, said = value
            called[name](*said)
            since = time.monotonic()
        elif (now := child.activity()) != seen:
            seen, since = now, time.monotonic()
        elif (waited := time.monotonic() - since) > LIMIT:
            raise UnansweredError(mount[1])
        elif waited > SAID_AFTER:
            progress(f"waiting for {mount[1]} to answer", int(waited), LIMIT)


def serve(descriptor: int, parent: int) -> None:
    """Do what comes through the pipe until its other end is closed: the child's side."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks, which ends this process
    with contextlib.suppress(AttributeError, OSError):  # no Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with Connection(descriptor) as connection:
        while os.getppid() == parent:
            try:
                step, folder, given, called = connection.recv()
            except EOFError:
                return
            connection.send(_done(connection, step, folder, given, called))


def _done(connection: Connection, step: Callable[..., Any], folder: str, given: dict[Any, Any], called: list[Any]) -> tuple[str, Any]:
    def caller(name: Any) -> Callable[..., None]:
        return lambda *said: connection.send(("called", (name, said)))

    try:
        os.chdir(folder)
        given |= {name: caller(name) for name in called}
        args = [given.pop(place) for place in sorted(name for name in given if isinstance(name, int))]
        return "returned", step(*args, **given)
    except Exception as error:
        return "raised", error if isinstance(error, OSError) else RuntimeError(traceback.format_exc())
