"""What the kit has to know of a cloud: one file here for each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

# the root that configs are written for: their /content/... is taken under the workspace's root on every platform
CONFIG_ROOT = Path("/content")


class Platform(Protocol):
    """A kind of machine: how to recognise it, where its disk is, and what only its notebook's kernel can do."""

    @property
    def name(self) -> str:
        """As JSON and code call it."""

    @property
    def title(self) -> str:
        """As a report calls it."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Set in each of its runtimes; child processes inherit them. Empty for the machine that is none of the others."""

    @property
    def root(self) -> Path:
        """Where the workspace lies if nobody says otherwise."""

    @property
    def is_cloud(self) -> bool:
        """Whether this is a rented machine, whose own disk goes away with it."""

    def mount_fix(self, mount: str) -> str:
        """What to type to have Drive mounted at `mount`."""

    def remount_fix(self, mount: str) -> str:
        """What to type when the mount has dropped out."""

    def secret_fix(self, name: str) -> str:
        """How to give the kit the secret `name`."""

    def mount(self, mount: str, folders: Sequence[str]) -> str:
        """Mount Drive if it is not, make the folders on it, and return why that failed, or ''."""

    def read_secret(self, name: str) -> str:
        """The secret, stripped. Raises LookupError with the reason where it can't be had."""

    def hand_back(self) -> None:
        """Give the machine back, so that it costs nothing more. Raises RuntimeError where it can't be."""
