"""What outlives training, kept out of Python's garbage collector."""

import gc


def set_aside() -> None:
    """Have the collector leave alone what is there now: modules and rows, 650,000 objects that live as long as the run.

    Axolotl 0.19.0 collects whenever it packs rows, three times an evaluation, and at each save. Each took 0.35 s to look through them
    again, and takes 0.02 s without them (2 vCPU, 2026-11-27). Before the model is loaded: its tensors stay the collector's.
    """
    gc.collect()  # what is garbage already would stay forever
    gc.freeze()
