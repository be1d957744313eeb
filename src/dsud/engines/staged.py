"""What an engine builds aside, before it is a user's database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Rows:
    """Rows that a new database begins with, as the backend stores them."""

    table: str
    columns: Sequence[str]
    values: Sequence[Sequence[object]]
    #: Are they the same for every user? An engine may then keep them ready for the next one.
    for_all: bool = False


class Staged(ABC):
    """A complete user database that nobody but its maker can reach yet."""

    #: Does ``publish`` make durable what was written without a sync, and without a journal?
    syncs_at_publishing: ClassVar[bool] = False

    @abstractmethod
    def publish(self) -> None:
        """Put the database in its user's place, durably and at once.

        Whoever has it open closes it next, because it may have moved. Raises
        ``UserDatabaseAlreadyExists`` when the place is taken; nothing is overwritten.
        """

    @abstractmethod
    def discard(self) -> None:
        """Remove what was built; doing it twice, or after publishing, does nothing."""
