"""`python -m preflight.ask`: questions to a finished run's adapter. The work is in cli.ask."""

import sys

from preflight.cli.ask import main

if __name__ == "__main__":
    sys.exit(main())
