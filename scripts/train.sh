#!/usr/bin/env bash
# The whole road: set up, preflight, the very command that preflight prints, then what the run reached.
#   scripts/train.sh [CONFIG [preflight options]]      default: axolotl_configs/smoke.yaml
# Skips what is done. Goes on from the newest whole checkpoint after a stop. Never deletes a run.
set -euo pipefail
cd "$(dirname "$0")/.."
config=${1:-axolotl_configs/smoke.yaml}
shift || true
venv=${VENV:-.venv}
workspace=()
for ((i = 1; i <= $#; i++)); do
    case "${!i}" in
        --workspace) next=$((i + 1)); workspace=(--workspace "${!next:-}") ;;
        --workspace=*) workspace=("${!i}") ;;
    esac
done

scripts/setup.sh
echo

report=$(mktemp)
trap 'rm -f "$report"' EXIT
trap 'echo "train: stopped; the same command goes on from the newest checkpoint"; exit 130' INT
"$venv/bin/python" -m preflight "$config" "$@" | tee "$report"

command=$(tail -n 1 "$report")
if [[ $command == *" -m axolotl.cli.train "* ]]; then
    echo
    SECONDS=0
    if ! eval "$command"; then
        echo "train: training ended with an error, see above. The same command goes on from the newest checkpoint" >&2
        exit 1
    fi
    echo
    echo "train: the command above took $SECONDS s"
fi
echo
"$venv/bin/python" -m preflight.evaluation "$config" ${workspace[@]+"${workspace[@]}"}
