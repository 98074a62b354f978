"""The name that notebooks saved on Drive import `Session` from; the work is in cli.notebook."""

from preflight.cli.notebook import Session

__all__ = ["Session"]
