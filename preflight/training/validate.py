"""What Axolotl's own validators say of a config, as the launch would ask them: a process of its own, since their import takes 10 s.

Reads {values, capabilities} as YAML, prints {refused: [{key, message}], failed} as JSON.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import yaml


def main() -> None:
    """Judge the config on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    asked = yaml.safe_load(sys.stdin)
    try:
        answer = {"refused": judge(asked["values"], asked["capabilities"]), "failed": ""}
    except (Exception, SystemExit) as error:  # no verdict of theirs: a package that a plugin needs, a fault of a validator
        answer = {"refused": [], "failed": f"{type(error).__name__}: {error}"}
    json.dump(answer, answers)
    answers.flush()
    os._exit(0)  # nothing that the imports registered is worth waiting for


def judge(values: Mapping[str, Any], capabilities: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Each refusal as the dotted key that it is about, '' for a rule over several, and what they say."""
    import torch
    from axolotl.cli.config import prepare_plugins
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from pydantic import ValidationError

    config = DictDefault(values)
    machine = {}
    if capabilities:
        machine = {"capabilities": dict(capabilities), "env_capabilities": {"torch_version": torch.__version__.partition("+")[0]}}
    try:
        prepare_plugins(config)
        validate_config(config, **machine)
    except ValidationError as error:
        return [{"key": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors(include_url=False, include_input=False)]
    except ValueError as error:
        return [{"key": "", "message": str(error)}]
    return []


if __name__ == "__main__":
    main()
