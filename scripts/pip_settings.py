"""Print what pip is set to use here as the variables that uv reads instead: uv does not look at pip's configuration.

For scripts/setup.sh, which evaluates the lines. What a variable says already is left as it is. Runs with the Python of the environment.
Ends with exit code 1 where pip takes packages from several places: of a version that lies in two of them uv 0.13.9 may take the wheel of an older
Python (multiprocess 0.70.19: that of 3.10 for 3.11, whichever UV_INDEX_STRATEGY; training then ends in fork_exec; seen 2026-11-27).
"""

import os
import shlex
import subprocess
import sys

# pip's option -> uv's variable. https://docs.astral.sh/uv/reference/environment/, https://pip.pypa.io/en/stable/topics/configuration/
VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}
SEVERAL = ("extra-index-url", "find-links")  # more places beside the index


def read_settings(listed: str) -> dict[str, str]:
    """Option -> value, from `pip config list`: a variable comes before what is set for installing, and that before what is set for all."""
    found: dict[str, tuple[int, str]] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        rank = {"global": 1, "install": 2, ":env:": 3}.get(section, 0)
        if rank > found.get(option, (0, ""))[0]:
            found[option] = rank, value.strip("'\"").replace("\\n", " ")
    return {option: value for option, (_, value) in found.items()}


def variables(settings: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """uv's variables for pip's settings."""
    wanted = {}
    for option, variable in VARIABLES.items():
        values = settings.get(option, "").split()
        if values and variable not in environment:
            wanted[variable] = " ".join(values)
    return wanted


def main() -> int:
    """Print one line for each variable; 1 where uv can't stand for pip here."""
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = read_settings(listed)
    if any(settings.get(option) for option in SEVERAL):
        return 1
    for name, value in variables(settings, dict(os.environ)).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
