"""Any machine that is none of the clouds: a laptop, a server, a test. It has no Drive to mount and nothing to hand back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preflight.files import CHECKOUT


@dataclass(frozen=True)
class Local:
    """The workspace lies in the checkout, where git ignores it."""

    name: str = "local"
    title: str = "not Colab"
    variables: tuple[str, ...] = ()
    root: Path = CHECKOUT / "workspace"
    is_cloud: bool = False

    def mount_fix(self, mount: str) -> str:
        return f"mount it at {mount}"

    def remount_fix(self, mount: str) -> str:
        return "mount the disk again"

    def secret_fix(self, name: str) -> str:
        return f"set the variable: export {name}=..., or log in once: hf auth login"

    def mount(self, mount: str, folders: Sequence[str]) -> str:
        return "this is not Colab: google.colab is not here"

    def read_secret(self, name: str) -> str:
        raise LookupError(f"this machine keeps no secrets; set the variable {name}")

    def hand_back(self) -> None:
        raise RuntimeError("this machine is not rented")
