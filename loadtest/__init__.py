"""Load tests of the demo shop with Locust, and their results."""
