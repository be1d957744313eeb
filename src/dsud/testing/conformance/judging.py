"""What an engine promises about databases at another schema than the code's: whoever judges them is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings

from dsud.engines.hooks import Hooks, JudgeSchema
from dsud.testing.conformance import schema
from dsud.testing.conformance.acting import as_user, connection_of, make, part, read, write
from dsud.testing.conformance.suite import EngineSuite


class Refused(Exception):
    """What the judges of these tests raise."""


class Judge:
    """Says the same of every database, and remembers which it was asked about."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, connection: BaseDatabaseWrapper, /, *, opened: bool) -> bool:
        """Judge a database."""
        self.asked.append((connection.alias, opened))
        if self.refuses:
            raise Refused
        return True


class JudgingTests(EngineSuite):
    """A database is judged when it is opened, before anything is read from it or written to it."""

    @contextmanager
    def judged_by(self, judge: JudgeSchema) -> Iterator[None]:
        """Have databases judged that are opened in a block, and only there."""
        part()
        with patch.object(Hooks, "judge_schema", staticmethod(judge)):
            yield
            part()

    def test_opened_database_is_judged(self) -> None:
        """``judge_schema`` is called with the connection, which is open, when a database is opened."""
        make("1", "2")
        judge = Judge()
        with self.judged_by(judge):
            write("1", "mine")
            self.assertEqual(set(judge.asked), {("user_1", True)})
            read("2")
            self.assertEqual(set(judge.asked), {("user_1", True), ("user_2", True)})
        self.assertEqual(read("1"), ["mine"])

    def test_open_connection_is_not_judged_again(self) -> None:
        """Statements on a connection that has passed are not judged."""
        make("1")
        judge = Judge()
        with self.judged_by(judge), as_user("1"):
            for text in "abc":
                schema.rows("Entry").create(text=text)
            self.assertEqual(judge.asked, [("user_1", True)])

    def test_what_judging_raises_arrives(self) -> None:
        """What ``judge_schema`` raises reaches the query as it is, and nothing is read or written."""
        make("1")
        write("1", "before")
        judge = Judge(refuses=True)
        with self.judged_by(judge):
            with self.assertRaises(Refused):
                read("1")
            with self.assertRaises(Refused):
                write("1", "refused")
            with self.assertRaises(Refused), transaction.atomic():
                write("1", "refused")
        self.assertEqual(read("1"), ["before"])

    def test_refused_database_is_judged_again(self) -> None:
        """A database that was refused is judged at its next use, because it may be migrated by then."""
        make("1")
        judge = Judge(refuses=True)
        with self.judged_by(judge):
            with as_user("1"):
                for _ in range(2):
                    with self.assertRaises(Refused):
                        schema.rows("Entry").count()
            judge.refuses = False
            self.assertEqual(read("1"), [])
        self.assertEqual(judge.asked, [("user_1", True)] * 3)

    def test_refused_database_gives_its_place_back(self) -> None:
        """A connection that was refused does not count against the cap any more."""
        make("1", "2")

        def refuse_first(connection: BaseDatabaseWrapper, /, *, opened: bool) -> bool:
            if connection.alias == "user_1":
                raise Refused
            return True

        with self.judged_by(refuse_first), override_settings(DSUD_MAX_OPEN=1):
            with as_user("1"), self.assertRaises(Refused):
                connection_of("1").ensure_connection()
            self.assertEqual(read("2"), [])

    def test_judge_may_open_the_database_once_more(self) -> None:
        """``judge_schema`` may close the connection, have others work, and connect it again."""
        make("1")
        asked: list[str] = []

        def reopen(connection: BaseDatabaseWrapper, /, *, opened: bool) -> bool:
            asked.append(connection.alias)
            if len(asked) == 1:
                connection.close()
                connection.ensure_connection()
            return True

        with self.judged_by(reopen), override_settings(DSUD_MAX_OPEN=1):
            write("1", "mine")
        self.assertEqual(asked[:2], ["user_1", "user_1"])
        self.assertEqual(read("1"), ["mine"])
