"""OTLP: the encoding of spans, the two transports, and the classification of answers."""
