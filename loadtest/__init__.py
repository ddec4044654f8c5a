"""Load on the demo shop, by Locust, and what came of it."""
