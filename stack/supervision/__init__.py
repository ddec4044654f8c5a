"""Parts as processes under supervisord: those of the native runtime, and the console in either runtime."""
