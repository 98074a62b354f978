"""What runs have reached, side by side. Reads what they left: no model, no torch."""
