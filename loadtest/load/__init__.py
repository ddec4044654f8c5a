"""Locust in the demo shop: what shoppers do, how fast, and what came of it."""
