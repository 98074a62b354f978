"""`userdata.get`: FAKE_SECRET holds the only secret."""

import os


class SecretNotFoundError(Exception):
    """As the real one."""


def get(key):
    if "FAKE_SECRET" not in os.environ:
        raise SecretNotFoundError(f"Secret {key} does not exist.")
    return os.environ["FAKE_SECRET"]
