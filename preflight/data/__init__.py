"""The rows: found, fetched, staged and judged, as Axolotl will read them. No checkpoints, no steps or hours."""
