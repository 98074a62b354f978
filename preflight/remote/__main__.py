"""`python -m preflight.remote`: a run on Colab from the laptop. The work is in this room; cli.remote asks and prints."""

import sys

from preflight.cli.remote import main

if __name__ == "__main__":
    sys.exit(main())
