"""`make outage`: breaks the pipeline under load and judges every promise."""
