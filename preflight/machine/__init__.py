"""What is here: the platform, paths, GPUs, packages and memory. Nothing of configs, rows or checkpoints."""
