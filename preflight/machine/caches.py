"""The caches of Hugging Face's libraries, which training writes to before its first step."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from preflight.files import existing_parent, probe_writing
from preflight.findings import Finding, Level


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One of the caches: of what, where, the variable that moves it elsewhere, and why it can't be written to, or ''."""

    what: str
    folder: Path
    variable: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Caches:
    """Both of them."""

    rows: Cache
    models: Cache


def inspect_caches(environ: Mapping[str, str] = os.environ) -> Caches:
    """The caches where datasets 4.8 and huggingface_hub 1.17 look for them, each tried in the folder that is there already."""
    home = Path(environ.get("HF_HOME", Path(environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))).expanduser()
    rows, models = environ.get("HF_DATASETS_CACHE"), environ.get("HF_HUB_CACHE", environ.get("HUGGINGFACE_HUB_CACHE"))
    return Caches(
        rows=_tried("rows", "HF_DATASETS_CACHE", rows, home / "datasets"),
        models=_tried("models", "HF_HUB_CACHE", models and os.path.expanduser(models), home / "hub"),  # noqa: PTH111 - "" stays ""
    )


def _tried(what: str, variable: str, named: str | None, usual: Path) -> Cache:
    """The cache at the path that its variable names, or else at the usual one."""
    cache = Cache(what=what, folder=Path(usual if named is None else named).absolute(), variable="HF_HOME" if named is None else variable)
    try:
        error = probe_writing(existing_parent(cache.folder))
    except OSError as failed:  # a folder above it that may not be looked into
        error = failed
    return replace(cache, problem=(error.strerror or str(error)) if error else "")


def check_cache(cache: Cache | None, level: Level) -> list[Finding]:
    """`workspace.cache` where the cache can't be written to."""
    if cache is None or not cache.problem:
        return []
    message = f"training can't write its cache of {cache.what}: {cache.problem}"
    fix = f"name a folder that can be written to: export {cache.variable}=DIR"
    return [Finding(code="workspace.cache", level=level, where=str(cache.folder), message=message, fix=fix)]
