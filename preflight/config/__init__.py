"""What to train: the user's YAML, the layers on top of it, and whether its values make sense. No rows, no checkpoints."""
