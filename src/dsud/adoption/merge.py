"""One user's database merged into an ordinary one: keys that are taken are changed, and all is verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.db import connections, transaction

from dsud import provisioning, schema
from dsud.adoption.faults import typed
from dsud.adoption.joined import Issue, Joined, Keys, Translation, changed_types
from dsud.adoption.journal import Journal
from dsud.adoption.ordinary import Ordinary
from dsud.adoption.paths import KeyPath
from dsud.adoption.record import Contents
from dsud.adoption.values import NOTHING, Checksum, Row, Spelling
from dsud.connections import alias_of
from dsud.context import primary_key_field, use_user
from dsud.engines import engine
from dsud.exceptions import UserDatabaseError
from dsud.opening import as_they_are

#: How many rows are in memory at a time.
CHUNK = 400

MERGED = "merged"
ALREADY = "merged before"


class NotMerged(UserDatabaseError):
    """Raised when a user's rows were not merged: both databases stay as they are."""


class Merge:
    """A merge that is going on."""

    def __init__(self, tables: Sequence[Joined], alias: str) -> None:
        self._tables = tables
        self._alias = alias
        self._types = changed_types(alias)
        self._journal = Journal(alias)
        self._journal.prepare()

    def merge(self, key: str) -> tuple[str, int]:
        """Merge one user's rows; return whether that was done now, and how many rows there are.

        Raises ``NotMerged``, ``KeyTaken`` and what the engine raises; nothing was changed then.
        """
        provisioning.refuse_missing(key)
        what = f"The rows of user {key!r} were not merged"
        with use_user(key), as_they_are(), typed(key, NotMerged, what), engine().lock(key):
            before = self._journal.recorded(key)
            missing = [table for table in self._tables if table.label not in before]
            done = [table for table in self._tables if table.label in before]
            now = self._contents(key, done)
            _refuse_changed(key, {label: before[label] for label in now}, now)
            contents = self._merge(key, missing) if missing else now
            rows = sum(content.rows for content in contents.values())
            return (MERGED if missing else ALREADY), rows

    def _merge(self, key: str, tables: Sequence[Joined]) -> Contents:
        self._refuse_odd(key, tables)
        with transaction.atomic(using=self._alias):
            keys = self._journal.changed_keys(key)
            one = One(tables, self._alias, key, types=self._types, keys=keys).merge()
            _refuse_changed(key, one.found, self._contents(key, tables))
            self._journal.write(key, one.found, one.chosen)
        return one.found

    def _refuse_odd(self, key: str, tables: Sequence[Joined]) -> None:
        if not schema.is_current(alias_of(key)):
            raise NotMerged(
                key,
                f"The database of user {key!r} lacks migrations. Run"
                f" `manage.py migrate_user_dbs --user {key}` and then this again.",
            )
        pk = primary_key_field().to_python(key)
        doubled = [
            table.label
            for table in tables
            if isinstance(table.path, KeyPath)
            and table.path.rows(table.model, pk, self._alias).exists()
        ]
        if doubled:
            raise NotMerged(
                key,
                f"`{self._alias}` has rows of user {key!r} already: {', '.join(doubled)}. They would"
                " be there twice. Delete them, with `manage.py split_to_user_dbs --delete-source` if"
                " they were moved from there, or merge into another database.",
            )

    def _contents(self, key: str, tables: Sequence[Joined]) -> Contents:
        contents = {}
        for table in tables:
            checksum = Checksum()
            for rows in rows_of(table, key, self._alias):
                checksum.add(rows)
            contents[table.label] = checksum.content()
        return contents


class One:
    """The merge of one user's rows, in a transaction of the other database that is open."""

    def __init__(
        self,
        tables: Sequence[Joined],
        alias: str,
        user_key: str,
        *,
        types: dict[int, int],
        keys: Keys,
    ) -> None:
        """``keys`` has those that are others since an earlier merge, of other tables."""
        self._tables = tables
        self._alias = alias
        self._user_key = user_key
        self._ordinary = Ordinary(alias, like=alias_of(user_key))
        owner = primary_key_field().to_python(user_key)
        self._owner = primary_key_field().get_db_prep_value(owner, connections[alias_of(user_key)])
        self._keys = keys
        #: The keys that are others now, by the model that issues them.
        self.chosen: Keys = {}
        #: What the user's database holds.
        self.found: Contents = {}
        self._translation = Translation(keys, types, owner=self._owner)

    def merge(self) -> One:
        """Choose keys, then copy rows and read them back."""
        for table in self._tables:
            if table.is_shared:
                self._share(table)
            elif table.issues_keys:
                (place,) = table.keys
                keys = [
                    row[place]
                    for rows in rows_of(table, self._user_key, self._alias)
                    for row in rows
                ]
                issue = Issue(table, self._alias)
                self._choose(table, issue.changed(self._user_key, keys))
        with self._ordinary.in_any_order():
            for table in self._tables:
                self._copy(table)
        self._ordinary.check(self._tables)
        return self

    def _choose(self, table: Joined, keys: dict[object, object]) -> None:
        self._keys[table.model] = self.chosen[table.model] = keys

    def _share(self, table: Joined) -> None:
        """Have copies of a row that is there already be that row; others are copied as all are."""
        (place,) = table.keys
        chosen: dict[object, object] = {}
        self._choose(table, chosen)
        new = []
        for rows in rows_of(table, self._user_key, self._alias):
            for row in rows:
                same = self._ordinary.same(table, self._translation.row(table, row))
                if same is None:
                    new.append(row[place])
                else:
                    chosen[row[place]] = same
        chosen.update(Issue(table, self._alias).changed(self._user_key, new))

    def _copy(self, table: Joined) -> None:
        checksum = Checksum()
        for rows in rows_of(table, self._user_key, self._alias):
            checksum.add(rows)
            self._refuse_others(table, rows)
            translated = [self._translation.row(table, row) for row in rows]
            if table.is_shared:
                translated = [row for row in translated if self._ordinary.same(table, row) is None]
            if translated:
                self._ordinary.insert(table, translated)
                self._refuse_lost(table, translated)
        self.found[table.label] = checksum.content()

    def _refuse_others(self, table: Joined, rows: Sequence[Row]) -> None:
        if table.owner is None:
            return
        for row in rows:
            if row[table.owner] not in (None, self._owner):
                raise NotMerged(
                    self._user_key,
                    f"The row {row[table.keys[0]]} of {table.label} in the database of user"
                    f" {self._user_key!r} says that it is of user {str(row[table.owner])!r}."
                    " Mend it, because it would be the other's.",
                )

    def _refuse_lost(self, table: Joined, rows: Sequence[Row]) -> None:
        """Raise ``NotMerged`` unless the other database gives back what it was given."""
        given, read = Checksum(), Checksum()
        given.add(rows)
        read.add(self._ordinary.read(table, rows))
        if given.content() != read.content():
            raise NotMerged(
                self._user_key,
                f"Rows of {table.label} of user {self._user_key!r} are not what they were after they"
                f" were written to `{self._alias}`. Compare its columns with the model's fields.",
            )


def rows_of(table: Joined, user_key: str, alias: str) -> Iterator[list[Row]]:
    """Yield the rows of a user's database, some at a time, spelt so that another can be compared."""
    connection = connections[alias_of(user_key)]
    spelling = Spelling(table.fields, connection, other=alias)
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in table.fields)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {quote(table.model._meta.db_table)}")  # noqa: S608
        while rows := cursor.fetchmany(CHUNK):
            yield spelling.rows(rows)


def _refuse_changed(key: str, merged: Contents, now: Contents) -> None:
    changed = [
        label
        for label in {**merged, **now}
        if merged.get(label, NOTHING) != now.get(label, NOTHING)
    ]
    if changed:
        raise NotMerged(
            key,
            f"The database of user {key!r} is not what it was when it was merged:"
            f" {', '.join(changed)}. Keep everybody from writing there.",
        )
