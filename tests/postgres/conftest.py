"""One server for the tests of this room: it starts in under a second."""

import pytest

from preflight.postgres.server import started


@pytest.fixture(scope="session")
def server():
    with started() as server:
        yield server
