"""One request: what is measured of it, which paths are left out, and the library's own pages."""
