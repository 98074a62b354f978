"""`python -m preflight.tensorboard`: TensorBoard in the background. Notebooks and scripts call it by this name; the work is in cli.tensorboard."""

import sys

from preflight.cli.tensorboard import main

if __name__ == "__main__":
    sys.exit(main())
