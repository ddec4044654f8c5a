"""The inventory: how many pieces are left, and reservations of them."""
