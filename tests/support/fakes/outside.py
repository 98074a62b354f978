"""Code that did not come with Axolotl: it leaves a mark where it is run."""

import tempfile
from pathlib import Path

from axolotl.integrations.base import BasePlugin

(Path(tempfile.gettempdir()) / "outside-mark").touch()


class Plugin(BasePlugin):
    pass
