"""The spool: encoded batches on disk, which outlive an outage and the process."""
