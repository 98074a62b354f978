"""`python -m preflight.packaging`: packs the rows for Colab. Notebooks and scripts call it by this name; the work is in cli.package."""

import sys

from preflight.cli.package import main

if __name__ == "__main__":
    sys.exit(main())
