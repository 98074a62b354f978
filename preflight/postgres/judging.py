"""Many answers judged at once, over a few databases of one server."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from preflight.postgres.ddl import Schema, read_schema
from preflight.postgres.judge import DATABASES, Judgement, Pair, judge_pair
from preflight.postgres.running import LostError
from preflight.postgres.server import Server
from preflight.postgres.sessions import Session

WORKERS = 2
TRIES = 2  # a server process that an answer brings down takes the sessions of its neighbours with it


class Judge:
    """Judges answers on a server, as a context: its databases' connections are closed at the end."""

    def __init__(self, server: Server, databases: int = DATABASES, workers: int = WORKERS) -> None:
        self.databases = databases
        self._server, self._workers = server, workers
        self._free: SimpleQueue[Session] = SimpleQueue()

    def __enter__(self) -> Self:
        for _ in range(self._workers):
            self._free.put(Session(self._server))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        while not self._free.empty():
            self._free.get().close()

    def judge(self, schema: Schema | str, expected: str, given: str, seed: int = 0) -> Judgement:
        """Whether `given` answers what `expected` does, on the schema or the one that a prompt shows. Raises LostError where the server is gone."""
        pair = Pair(schema=read_schema(schema) if isinstance(schema, str) else schema, expected=expected, given=given, seed=seed)
        for _ in range(TRIES):
            if judgement := self._attempt(pair):
                return judgement
        return Judgement(verdict="not checked", detail="the server's process ended while it ran")

    def judge_all(self, pairs: Sequence[Pair], progress: Callable[[int, int], None] = lambda done, total: None) -> list[Judgement]:
        """The judgements of many pairs, in their order. Raises LostError where the server is gone."""
        order = sorted(range(len(pairs)), key=lambda i: hash(pairs[i].schema))  # a schema is loaded once for those that follow each other
        found: dict[int, Judgement | None] = {}
        with ThreadPoolExecutor(self._workers) as pool:
            for i, judgement in zip(order, pool.map(self._attempt, [pairs[i] for i in order]), strict=True):
                found[i] = judgement
                progress(len(found), len(pairs))
        # those whose connection was lost once more, each alone: another's answer may have brought the server down
        return [found[i] or self.judge(*pairs[i]) for i in range(len(pairs))]

    def _attempt(self, pair: Pair) -> Judgement | None:
        """A judgement, or None where the connection was lost."""
        session = self._free.get()
        try:
            return judge_pair(session, pair, self.databases)
        except LostError:
            session.reopen()
            return None
        finally:
            self._free.put(session)
