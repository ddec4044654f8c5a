"""What `config.py` is made of: presets, endpoints, headers, and what it says of bad values."""
