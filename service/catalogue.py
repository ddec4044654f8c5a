"""The shop's goods, with which both databases are seeded."""

from typing import Annotated, NamedTuple

from pydantic import Field

PLENTY = 10_000_000
"""Stock of each product on sale: enough for days of a hundred orders a second, so no load run uses it up."""

Identifier = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""A table's key; one beyond SQLite's integer range would fail in the driver, so it is rejected with 422."""

Quantity = Annotated[int, Field(ge=1, le=10)]
"""Pieces in one order."""


class Goods(NamedTuple):
    """One product with its price and the pieces in the warehouse when the shop opens."""

    id: int
    name: str
    price_cents: int
    stock: int = PLENTY


GOODS = (
    Goods(1, "Pour-over coffee dripper", 2_490),
    Goods(2, "Paper filters, 100 pieces", 690),
    Goods(3, "Hand grinder, steel burrs", 8_900),
    Goods(4, "Gooseneck kettle, 0.8 l", 5_950),
    Goods(5, "Kitchen scale with timer", 3_990),
    Goods(6, "Stoneware mug, 300 ml", 1_450),
    Goods(7, "Double-walled glass, set of two", 1_990),
    Goods(8, "Milk frothing jug", 2_250),
    Goods(9, "Single-origin beans, Huila, 500 g", 1_390),
    Goods(10, "House espresso, 1 kg", 2_190),
    Goods(11, "Descaler, 3 sachets", 990),
    Goods(12, "Lever espresso machine, last year's model", 64_900, stock=0),
)
"""Twelve products; the last is permanently sold out, so that a 409 can be provoked at any time."""
