"""What runs in training's own environment: Axolotl's plugin and the evaluation. The only room that imports torch."""
