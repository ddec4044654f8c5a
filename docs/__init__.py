"""The pages, and what is generated of them."""
