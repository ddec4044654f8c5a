"""What `config.py` is made of. Settings and their defaults are declared there, not here."""
