"""`python -m stack`: starts, checks and breaks the reference stack."""
