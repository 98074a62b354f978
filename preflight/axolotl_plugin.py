"""The name that YAMLs list the kit's plugin under; the work is in training.plugin."""

from preflight.training.plugin import KitPlugin

__all__ = ["KitPlugin"]
