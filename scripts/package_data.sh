#!/usr/bin/env bash
# Pack your rows on a laptop, for Colab: checked first, one zip, the same bytes for the same rows.
#   scripts/package_data.sh [DIR [OUT]]      default: data/processed data.zip
#   scripts/package_data.sh --help           all options
# Needs bash and Python 3.11 or newer, nothing else. PYTHON=... chooses the Python.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
for python in ${PYTHON:-"$here/.venv/bin/python" python3 python3.13 python3.12 python3.11}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        PYTHONPATH=$here exec "$python" -m preflight.packaging "$@"
    fi
done
echo "package_data: needs Python 3.11 or newer; install one, or name it: PYTHON=/path/to/python3.12 scripts/package_data.sh" >&2
exit 2
