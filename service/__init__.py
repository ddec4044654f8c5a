"""The demo shop: two FastAPI processes, storefront and inventory, each with its own SQLite file."""
