"""A run on a rented machine of Colab, steered from here by Google's `colab` command: taken, followed, brought home, given back."""
