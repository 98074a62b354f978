"""Google Colab. Mounting, secrets and handing back work in a cell of the notebook only: a child process has no kernel to ask."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preflight.files import require_mount
from preflight.machine.answering import answering
from preflight.machine.platforms.base import CONFIG_ROOT


@dataclass(frozen=True)
class Colab:
    """Colab's runtimes, as read in googlecolab/backend-info (2026-08-19). COLAB_GPU is not among the variables: it is empty on a CPU."""

    name: str = "colab"
    title: str = "Colab"
    variables: tuple[str, ...] = ("COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION", "COLAB_JUPYTER_IP")
    root: Path = CONFIG_ROOT
    is_cloud: bool = True

    def mount_fix(self, mount: str) -> str:
        return f"run this in a cell of the notebook, then preflight again: from google.colab import drive; drive.mount('{mount}')"

    def remount_fix(self, mount: str) -> str:
        again = f"from google.colab import drive; drive.flush_and_unmount(); drive.mount('{mount}', force_remount=True)"
        return f"Drive dropped out; mount it again in a cell: {again}"

    def secret_fix(self, name: str) -> str:
        return f"in Colab: the key symbol on the left, add a secret {name}, switch its notebook access on, run setup_colab_environment() again"

    def mount(self, mount: str, folders: Sequence[str]) -> str:
        """A mount point that holds files of its own is refused by Colab, so nothing is ever made under one that is not mounted."""
        try:
            if not answering(os.path.ismount, mount)(mount):
                from google.colab import drive

                drive.mount(mount)
            answering(_make, mount)(mount, folders)
        except ImportError:
            return "this is not Colab: google.colab is not here"
        except AttributeError:  # 'NoneType' object has no attribute 'kernel'
            return f"only a cell of the notebook can mount Drive; {self.mount_fix(mount)}"
        except Exception as error:  # OSError, ValueError; and MessageError where the user closes the dialogue
            return str(error) or type(error).__name__
        return ""

    def read_secret(self, name: str) -> str:
        try:
            from google.colab import userdata

            secret = str(userdata.get(name)).strip()
        except Exception as error:  # SecretNotFoundError, NotebookAccessError, TimeoutException; AttributeError outside a cell
            raise LookupError(type(error).__name__) from None
        if not secret:
            raise LookupError("it is empty")
        return secret

    def hand_back(self) -> None:
        from google.colab import runtime

        try:
            runtime.unassign()
        except Exception as error:  # RuntimeManagementError: it is given back already
            raise RuntimeError(str(error) or type(error).__name__) from None


def _make(mount: str, folders: Sequence[str]) -> None:
    require_mount(mount)
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
