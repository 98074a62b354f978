"""After training: what the run's own log says of the loss, and what base and adapter answer to the test rows.

The one part of the kit beside axolotl_plugin/ that imports torch: it runs after training, in training's environment.
"""
