"""Pack the rows for Colab: scripts/package_data.sh. Runs on any Python from 3.11, with nothing installed."""
