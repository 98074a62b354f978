"""Stands for google.colab, which only a Colab kernel has: what the kit calls of it, and how the real one fails."""
