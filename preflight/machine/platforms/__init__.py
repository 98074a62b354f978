"""The clouds that the kit knows, one file each. A new one: its file, and its line in PLATFORMS."""

import os
from collections.abc import Mapping

from preflight.machine.platforms.base import Platform
from preflight.machine.platforms.colab import Colab
from preflight.machine.platforms.local import Local

PLATFORMS: tuple[Platform, ...] = (Colab(), Local())  # the first whose variables are set; the last has none and takes what is left


def detect_platform(environ: Mapping[str, str] = os.environ) -> tuple[Platform, str]:
    """The platform of this process, and what says so."""
    for platform in PLATFORMS:
        for name in platform.variables:
            if name in environ:
                return platform, f"{name} is set"
    known = ", ".join(name for platform in PLATFORMS for name in platform.variables)
    return PLATFORMS[-1], f"none of {known} is set"
