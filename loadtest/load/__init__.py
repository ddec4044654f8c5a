"""Load on the demo shop with Locust: the shoppers, their pace, and the results."""
