"""The folder of one run, and the names of what lies in it. Standard library only: the mirror runs on it."""

from dataclasses import dataclass
from pathlib import Path

RECORDS = "throughput.json"  # seconds that steps took, beside the checkpoints: it changes when all else is done
HISTORY = "history.json"  # losses, sessions and end of the run, beside them too
PROGRESS = "progress.jsonl"  # what training says of itself, beside the resolved YAML
LOG = "training.log"  # what Axolotl and its launcher say, beside it too
WEIGHTS = "adapter_model.safetensors"  # of a checkpoint, and of the final adapter
CARD = "README.md"  # the page beside the final adapter: a person may rewrite it, so that no manifest vouches for it
EVENTS = "runs"  # the folder of TensorBoard's event files


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder of one run, and that whose tokenised rows it shares: the run's that is called as the config is."""

    folder: Path
    shared: Path | None = None

    @property
    def config(self) -> Path:
        """The resolved YAML: the one that is launched."""
        return self.folder / "config.yaml"

    @property
    def outputs(self) -> Path:
        """Axolotl's output_dir: checkpoints, adapter, TensorBoard events."""
        return self.folder / "outputs"

    @property
    def prepared(self) -> Path:
        """Axolotl's tokenised rows, which all runs of one config share: each set lies in a folder named by its hash."""
        return (self.shared or self.folder) / "prepared"
