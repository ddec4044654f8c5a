"""Mutation testing of the parts that must not lose a span: `make mutants`."""
