"""Single answers analysed on the tables of their prompts by one server that stays."""

import contextlib
from collections.abc import Callable, Iterator

from preflight.postgres.causes import Verdict, not_checked
from preflight.postgres.ddl_text import find_statements
from preflight.postgres.preparing import Question, judge_answers
from preflight.postgres.server import NoPostgresError, started

Check = Callable[[str, str], Verdict]  # a prompt, an answer


def shows_tables(text: str) -> bool:
    """Whether a text holds a CREATE TABLE that can be read."""
    return bool(find_statements(text).statements)


@contextlib.contextmanager
def checking() -> Iterator[Check]:
    """What tells of a prompt and an answer what the answer does; "not checked" and why where there is no server."""
    with contextlib.ExitStack() as stack:
        server, why = None, ""
        try:
            server = stack.enter_context(started())
        except NoPostgresError as error:
            why = str(error)

        def check(prompt: str, answer: str) -> Verdict:
            if server is None:
                return not_checked(why)
            ((_, verdict),) = judge_answers(server, [Question(number=0, ddl=find_statements(prompt), answer=answer)])
            return verdict

        yield check
