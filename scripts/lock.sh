#!/usr/bin/env bash
# Rewrite constraints.txt: the whole tree below requirements*.txt, resolved for Python 3.11 to 3.13. Needs uv on the PATH.
# torch is held at the newest version that axolotl 0.19 takes. After it: make test.
set -euo pipefail
cd "$(dirname "$0")/.."
resolved=$(echo 'torch==2.13.0' | uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
    - requirements.txt requirements-dev.txt)
{
    echo "# The whole tree for Python 3.11 to 3.13, so that next month's set-up is this month's. Written by scripts/lock.sh."
    echo "$resolved"
} >constraints.txt
