"""`python -m preflight.runs`: every run in one table. The work is in cli.runs."""

import sys

from preflight.cli.runs import main

if __name__ == "__main__":
    sys.exit(main())
