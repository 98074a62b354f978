#!/usr/bin/env bash
# Make the training environment: .venv with what requirements.txt asks for, at the versions of constraints.txt.
#   scripts/setup.sh          for training
#   scripts/setup.sh --dev    for the tests and linters as well
# Does nothing where that is done already; can be run again after a failure at any point.
# VENV=DIR puts it elsewhere, PYTHON=... chooses the Python (3.11 to 3.13). Installs with uv, which it fetches into the environment where there is
# none; INSTALLER=pip installs with pip.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
uv_wanted=uv==0.13.9 # where there is none

requirements=(-r requirements.txt)
stamp=$venv/.installed
case "${1:-}" in
    "") ;;
    --dev) requirements+=(-r requirements-dev.txt); stamp=$venv/.installed-dev ;;
    *) sed -n '2,7s/^# //p' "$0"; exit 2 ;;
esac

# a notebook's kernel hands these down; they are meant for its own packages
unset PYTHONPATH UV_SYSTEM_PYTHON UV_CONSTRAINT UV_BUILD_CONSTRAINT
uv=
[[ ${INSTALLER:-} == pip ]] || uv=$(command -v uv || true)

is() { # is PYTHON FIRST LAST: a Python of a version from FIRST to LAST
    "$1" -c "import sys; sys.exit(not ($2) <= sys.version_info[:2] <= ($3))" 2>/dev/null
}

find_python() { # 3.13 only where nothing else is there: a package has to be built for it
    local last candidate
    for last in "3, 12" "3, 13"; do
        for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.13}; do
            if is "$candidate" "3, 11" "$last"; then command -v "$candidate"; return; fi
        done
    done
    candidate=${PYTHON:-python3}
    echo "setup: needs Python 3.11 to 3.13; $candidate is $("$candidate" -V 2>&1 || true). Install one, or name it: PYTHON=/path/to/python3.12 make ..." >&2
    return 2
}

own_uv=
install() { # install PIP_ARGUMENTS: pip or uv with its output in the log, and a line now and then of what it is at
    local by=("$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off)
    [[ -z $uv ]] || by=("$uv" pip install --python "$venv/bin/python")
    "${by[@]}" "$@" -c constraints.txt >>"$log" 2>&1 &
    pip=$!
    trap 'kill "$pip" 2>/dev/null; echo; echo "setup: interrupted; run the same command again to continue"; exit 130' INT TERM
    while kill -0 "$pip" 2>/dev/null; do
        sleep 2
        line=$({ grep -v WARNING "$log" || true; } | tail -n 1 | tr -s ' ' | cut -c 1-90) # grep fails on a log that is still empty
        if [[ -t 1 ]]; then
            printf '\r\033[Ksetup: %4d s  %s' "$SECONDS" "$line"
        elif ((SECONDS >= next)); then
            printf 'setup: %4d s  %s\n' "$SECONDS" "$line"
            next=$((SECONDS + 20))
        fi
    done
    [[ ! -t 1 ]] || echo
    if ! wait "$pip"; then
        if [[ -n $own_uv ]]; then # nobody asked for it: where it fails, what a person knows is tried
            echo "setup: uv failed after $SECONDS s, see $log; trying pip"
            uv='' own_uv=''
            install "$@"
            return
        fi
        echo "setup: the installation failed after $SECONDS s. The end of $log:" >&2
        grep -v '^ *$' "$log" | tail -n 8 >&2
        echo "setup: fix the cause (network? disk: $(df -h . | awk 'NR == 2 {print $4}') free) and run the same command again" >&2
        exit 1
    fi
}

wanted=$(cat requirements.txt requirements-dev.txt constraints.txt | cksum)
if [[ -x $venv/bin/python && -e $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "setup: $venv is up to date"
    exit 0
fi

if ! is "$venv/bin/python" "3, 11" "3, 13" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if [[ -n $uv ]]; then # fetches a Python of its own where there is none
        echo "setup: making $venv with uv"
        "$uv" venv --quiet --seed --allow-existing --python "${PYTHON:->=3.11,<3.13}" "$venv"
    else
        python=$(find_python)
        echo "setup: making $venv with $("$python" -V)"
        if ! "$python" -m venv "$venv"; then
            echo "setup: $python can't make environments (on Debian and Ubuntu: apt install python3-venv)" >&2
            exit 1
        fi
    fi
fi

log=$venv/install.log
next=0
: >"$log"
echo "setup: installing about 200 packages into $venv: minutes, and 5 GB of disk (9 GB with torch for CUDA). Log: $log"
if [[ -z $uv && ${INSTALLER:-} != pip ]]; then
    if ! settings=$("$venv/bin/python" scripts/pip_settings.py); then
        echo "setup: pip is set to take packages from several places, which uv does not treat alike: pip installs"
    elif "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -q "$uv_wanted" >>"$log" 2>&1; then
        uv=$venv/bin/uv own_uv=1
        eval "$settings" # what pip is set to use here: uv does not look there
    fi
fi
if is "$venv/bin/python" "3, 13" "3, 13"; then
    # axolotl 0.19.0 pins zstandard 0.22.0, which has no wheel for 3.13, and whose own build asks for a cffi that 3.13 can't load
    echo "setup: Python 3.13 needs a C compiler and some minutes more for zstandard; with Python 3.12 it needs neither"
    install setuptools wheel cffi
    install --no-build-isolation --no-deps "$(grep -o '^zstandard==[0-9.]*' constraints.txt)"
fi
install "${requirements[@]}"
echo "$wanted" >"$stamp"
echo "$wanted" >"$venv/.installed" # the development environment is one for training too
echo "setup: done in $SECONDS s"
