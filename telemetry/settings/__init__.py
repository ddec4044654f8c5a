"""The parts of `config.py`, which itself declares the settings and their defaults."""
