"""Metrics: their names, the instruments, and one page for all workers."""
