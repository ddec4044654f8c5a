"""OTLP: spans as bytes, the two transports, and what an answer means."""
