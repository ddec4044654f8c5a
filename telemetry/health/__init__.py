"""Health: the report, its model, and checks that an application registers."""
