"""The contract of an engine on which recorded migrations can be replayed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from django.db.backends.base.base import BaseDatabaseWrapper

Parameters: TypeAlias = Sequence[object] | Mapping[str, object]

#: Runs a statement that ``Replayer.compiled`` has made ready.
Run: TypeAlias = Callable[[str, Parameters], object]


@dataclass(frozen=True)
class DatabaseState:
    """What decides which statements a migration needs: the schema and what the ledger says of it."""

    #: Every object with its definition, as the database has it; equal texts are equal schemas.
    schema: str
    #: App and name of each applied migration.
    applied: frozenset[tuple[str, str]]


class Replayer(ABC):
    """How one engine's databases are looked at, copied without their rows, and changed as a whole.

    All connections are Django's, of the engine's backend.
    """

    @abstractmethod
    def blank(self) -> dict[str, object]:
        """Return settings under which Django reaches a new, empty database that ends with the connection."""

    def opened(
        self, user_key: str, connection: BaseDatabaseWrapper
    ) -> AbstractContextManager[bool]:
        """Have a connection work on a user's database, for recorded statements and nothing else.

        Where there is no way that is quicker than Django's, the block gets False.
        """
        return nullcontext(enter_result=False)

    def remedy(self, error: BaseException) -> str:
        """Return what operators can do about an error that is not of the migrations, or nothing."""
        return ""

    @abstractmethod
    def copy_schema(self, source: BaseDatabaseWrapper, target: BaseDatabaseWrapper) -> None:
        """Give an empty database the schema of another and the rows of its ledger, no user's rows."""

    @abstractmethod
    def state(self, connection: BaseDatabaseWrapper) -> DatabaseState:
        """Return the state of a database."""

    @abstractmethod
    def version(self, connection: BaseDatabaseWrapper) -> object:
        """Return what is another as soon as rows were changed, or anybody else has changed anything.

        Only for one connection: it says nothing beside what another one says.
        """

    @abstractmethod
    def transaction(
        self, connection: BaseDatabaseWrapper, *, is_trusted: bool = False
    ) -> AbstractContextManager[None]:
        """Open one durable transaction that writes, and in which constraints are not enforced.

        Schema editors may be entered inside. What runs is recorded statements only if it ``is_trusted``;
        the connection may then refuse nothing any more, and is not leased again. Raises
        ``TransactionManagementError`` inside another.
        """

    def transaction_apart(self, connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
        """Do the same for recorded statements on a connection that ``opened`` has given."""
        return self.transaction(connection, is_trusted=True)

    def lend_functions(self, connection: BaseDatabaseWrapper, *, text: str) -> None:
        """Have ``runner`` know the functions of Django that a text may call, if it knows them not yet."""
        return

    @abstractmethod
    def check_constraints(self, connection: BaseDatabaseWrapper) -> None:
        """Raise Django's ``IntegrityError`` when a key points nowhere."""

    @abstractmethod
    def compiled(self, sql: str, params: Parameters | None) -> tuple[str, Parameters]:
        """Return a statement in the style of Django's cursors as ``run`` takes it."""

    @abstractmethod
    def runner(self, connection: BaseDatabaseWrapper) -> Run:
        """Return what runs compiled statements on a connection; it raises Django's errors."""

    @abstractmethod
    def needs_its_own_transaction(self, sql: str) -> bool:
        """Tell whether a statement means something else, or fails, inside a transaction."""

    @abstractmethod
    def is_lasting(self, sql: str) -> bool:
        """Tell whether a statement writes or reads rows, rather than looking at the schema.

        What opens and ends transactions does neither.
        """

    @abstractmethod
    def leaves_keys_alone(self, sql: str) -> bool:
        """Tell whether a statement cannot make any key point nowhere."""

    @abstractmethod
    def stamp(self, connection: BaseDatabaseWrapper, fingerprint: str) -> None:
        """Note in the database, with the transaction that is open, which schema of the code it has.

        An empty fingerprint takes the note away.
        """

    @abstractmethod
    def has_stamp(self, connection: BaseDatabaseWrapper, fingerprint: str) -> bool:
        """Tell whether a database carries this note."""
