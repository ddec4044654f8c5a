"""Health: the report and its model, and checks that an application registers beside it."""
