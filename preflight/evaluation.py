"""`python -m preflight.evaluation`: what a finished run reached. Notebooks and scripts call it by this name; the work is in cli.evaluate."""

import sys

from preflight.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
