"""A mutation that Cosmic Ray does not bring: a statement is left out."""

from collections.abc import Iterable, Iterator

from cosmic_ray.operators.operator import Example, Operator
from parso.python.tree import Keyword, PythonNode
from parso.tree import NodeOrLeaf

_OF_NO_INTEREST = frozenset({"string", "strings", "import_name", "import_from"})
"""Docstrings; and without an import almost any test fails."""


class StatementDeletion(Operator):  # type: ignore[misc] # Cosmic Ray declares no types
    """Replaces a simple statement within a function by `pass`."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yields where the statement is, if the node is one."""
        if not isinstance(node, PythonNode) or node.type != "simple_stmt":
            return
        if node.search_ancestor("funcdef", "async_funcdef") is None:
            return
        statement = node.children[0]
        if statement.type not in _OF_NO_INTEREST and statement.get_code().strip() != "pass":
            yield statement.start_pos, statement.end_pos

    def mutate(self, node: PythonNode, _index: int) -> PythonNode:
        """Returns the node without its statement."""
        statement = node.children[0]
        node.children[0] = Keyword("pass", statement.start_pos, statement.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls) -> Iterable[Example]:
        """Returns what Cosmic Ray's own tests would check."""
        return (Example("def f():\n    g()\n", "def f():\n    pass\n"),)
