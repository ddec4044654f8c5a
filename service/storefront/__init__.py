"""The storefront: products on offer, orders, and what was sold. It reserves in the inventory."""
