"""The current state of the pipeline."""
