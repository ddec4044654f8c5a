"""The pipeline as it is now."""
