"""One real PostgreSQL for all preflights of a test process, which is asked about each answer once."""

import contextlib
from unittest.mock import patch

from preflight.postgres.preparing import Question, judge_answers
from preflight.postgres.server import started


class Judge:
    """Stands in for starting a server each time: it starts at the first question, and keeps its verdicts."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.server = None
        self.known = {}

    @contextlib.contextmanager
    def started(self):
        yield self

    def judge_answers(self, server, questions):
        questions = list(questions)
        new = [one for one in {(one.ddl, one.answer): one for one in questions}.values() if (one.ddl, one.answer) not in self.known]
        if new:
            self.server = self.server or self.stack.enter_context(started())
            asked = [Question(number, one.ddl, one.answer) for number, one in enumerate(new)]
            for number, verdict in judge_answers(self.server, asked):
                self.known[new[number].ddl, new[number].answer] = verdict
        for one in questions:
            yield one.number, self.known[one.ddl, one.answer]

    def close(self):
        self.stack.close()


@contextlib.contextmanager
def shared_server():
    """Preflights of this process ask one server."""
    judge = Judge()
    names = {name: getattr(judge, name) for name in ("started", "judge_answers")}
    try:
        with patch.multiple("preflight.data.sql_runs", **names):
            yield judge
    finally:
        judge.close()
