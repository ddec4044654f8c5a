"""The stack without containers: the same programs, as processes under supervisord."""
