"""What earlier sessions left, here and on Drive: described, verified, copied and brought back. No rows."""
