"""`python -m preflight`."""

import sys

from preflight.cli.preflight import main

if __name__ == "__main__":
    sys.exit(main())
