"""`make outage`: the pipeline broken under load, and every promise judged."""
