"""Looks at the machine, judges what it sees, writes one resolved Axolotl YAML and gets out of the way."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # before any import that an older Python can't even parse
    text = "preflight needs Python 3.11 to 3.13; this is %d.%d. Run it with another one: python3.11 -m preflight\n"
    sys.stderr.write(text % sys.version_info[:2])
    sys.exit(2)

PUBLIC = {"Session": "preflight.cli.notebook", "setup_colab_environment": "preflight.cli.session"}


def __getattr__(name: str) -> object:
    """`from preflight import Session, setup_colab_environment`, without importing anything for those who don't."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(PUBLIC[name]), name)
