"""Request handling: metrics, excluded paths and the library's own pages."""
