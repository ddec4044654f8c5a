"""Label sets of metrics, bound once and bounded: beyond the limit, what varies is counted as `other`."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ..fork import call_in_forked_child
from . import names

logger = logging.getLogger(__name__)

Value = str | int | None
"""The value of a label; None if the label set lacks it."""
Key = tuple[Value, ...]
Row = TypeVar("Row")
_SHARE_OF_OTHER = 20
"""One label set in so many is kept for those with `other`, so that their methods and statuses remain."""
_FEWEST_OF_OTHER = 2


class LabelSets(Generic[Row]):
    """What is measured for each label set: a row, made when the label set is first seen. Thread-safe.

    Past the limit, less the part that is kept for `other`, the labels that vary without limit become `other`;
    when that part is full as well, all labels do. A forked child starts without rows: it counts its own.

    Args:
        metric: named in the warning that is logged once, when the limit is first exceeded.
        labels: their names, in the order of each key's values.
        unbounded: the names of the labels that vary without limit.
        limit: the most label sets.
        make: makes a row.
    """

    def __init__(
        self, metric: str, labels: tuple[str, ...], unbounded: set[str], limit: int, make: Callable[[], Row]
    ) -> None:
        self.labels = labels
        self.rows: dict[Key, Row] = {}
        """The rows by their keys. Recording looks here first, and calls `bind` for what is missing."""
        self._metric = metric
        self._unbounded = unbounded
        self._is_unbounded = tuple(name in unbounded for name in labels)
        self._limit = limit
        self._most_named = limit - max(_FEWEST_OF_OTHER, limit // _SHARE_OF_OTHER)
        self._make = make
        self._forget()
        call_in_forked_child(self._forget)

    def _forget(self) -> None:
        # Reentrant, since a signal handler may record what it interrupted the recording of.
        self._lock = threading.RLock()
        self._is_told = False
        self.rows.clear()

    def bind(self, key: Key) -> Row:
        """Returns the row of a key, or of the one that is counted in its place."""
        with self._lock:
            bounded = key if key in self.rows else self._bounded(key)
            row = self.rows.get(bounded)
            if row is None:
                row = self.rows[bounded] = self._make()
            tells = bounded is not key and not self._is_told
            self._is_told |= tells
        if tells:
            logger.warning(
                "%s has as many label sets as TELEMETRY_MAX_LABEL_SETS=%d allows: new ones are counted as "
                "%s; one of %s takes too many values",
                self._metric,
                self._limit,
                names.OTHER,
                ", ".join(sorted(self._unbounded)),
            )
        return row

    def snapshot(self) -> list[tuple[Key, Row]]:
        """Returns all rows with their keys."""
        with self._lock:
            return list(self.rows.items())

    def _bounded(self, key: Key) -> Key:
        count = len(self.rows)
        if count < self._most_named:
            return key
        other = tuple(
            names.OTHER if is_unbounded and value is not None else value
            for value, is_unbounded in zip(key, self._is_unbounded, strict=True)
        )
        if other in self.rows or count < self._limit - 1:
            return other
        return (names.OTHER,) * len(key)
