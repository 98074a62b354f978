"""`python -m preflight.mirror`: copies what a run has finished to Drive. Notebooks and scripts call it by this name; the work is in cli.mirror."""

import sys

from preflight.cli.mirror import main

if __name__ == "__main__":
    sys.exit(main())
