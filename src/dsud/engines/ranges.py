"""Which primary keys belong to which user database: a number for each, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

#: How many primary keys a table has in each user database, as a power of two.
BITS = 32

#: The last number: JavaScript, and JSON read by it, is exact below 2**53 only.
LAST_NUMBER = 2 ** (53 - BITS) - 1


@dataclass(frozen=True)
class KeyRange:
    """The primary keys that one user database gives to new rows of some of its tables."""

    #: Counted from 1 over all user databases that there ever were, and never given twice.
    number: int

    #: The tables, by name, those included that a database of an older schema does not have yet.
    tables: tuple[str, ...]

    @property
    def start(self) -> int:
        """The key after which those of the range come, so that no row has it."""
        return self.number << BITS

    @property
    def end(self) -> int:
        """The last key of the range."""
        return self.start + (1 << BITS) - 1


def number_of(key: int) -> int:
    """Return the number of the range that a primary key is from; 0 is nobody's."""
    return key >> BITS
