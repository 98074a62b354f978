#!/usr/bin/env bash
# The full pipeline: set up, preflight, the very command that preflight decided on, then what the run reached.
#   scripts/train.sh [CONFIG [--verbose] [preflight options]]      default: axolotl_configs/smoke.yaml
# --verbose shows all that Axolotl prints; without it that goes to training.log in the run's folder.
# QUESTIONS=N asks so many of the test rows at the end, in the place of as many as five minutes take.
# Skips what is done. Resumes from the latest complete checkpoint after a stop. Never deletes a run.
set -euo pipefail
cd "$(dirname "$0")/.."
config=${1:-axolotl_configs/smoke.yaml}
shift || true
venv=${VENV:-.venv}
same=()   # what the run is known by
shown=()  # how much of training is shown
given=()  # what preflight takes
for ((i = 1; i <= $#; i++)); do
    if [[ "${!i}" == --verbose ]]; then
        shown=(--verbose)
        continue
    fi
    given+=("${!i}")
    case "${!i}" in
        --workspace | --set | --name) next=$((i + 1)); same+=("${!i}" "${!next:-}") ;;
        --workspace=* | --set=* | --name=*) same+=("${!i}") ;;
    esac
done

scripts/setup.sh
echo

report=$(mktemp)
trap 'rm -f "$report"' EXIT
trap 'echo "train: stopped; the same command resumes from the latest checkpoint"; exit 130' INT
"$venv/bin/python" -m preflight "$config" ${given[@]+"${given[@]}"} --report "$report"

echo
if ! "$venv/bin/python" -m preflight.cli.launch "$report" ${shown[@]+"${shown[@]}"}; then
    echo "train: training ended with an error, see above. The same command resumes from the latest checkpoint" >&2
    exit 1
fi
echo
"$venv/bin/python" -m preflight.evaluation "$config" ${same[@]+"${same[@]}"} ${QUESTIONS:+--questions "$QUESTIONS"}
