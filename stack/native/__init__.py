"""The stack without containers: the same programs, built from their Go modules, under supervisord."""
