"""What an engine promises beside the databases: locks, a location, templates, files, checked settings."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from unittest import SkipTest

from django.core.checks import ERROR, CheckMessage

from dsud.engines import engine
from dsud.exceptions import (
    InvalidEngine,
    NotSupportedByEngine,
    UserDatabaseDoesNotExist,
    UserDatabaseUnavailable,
)
from dsud.testing.conformance import errands, schema
from dsud.testing.conformance.acting import (
    LONG,
    SHORT,
    as_user,
    delete,
    in_thread,
    make,
    read,
    write,
)
from dsud.testing.conformance.suite import EngineSuite


def take_lock(user_key: str) -> None:
    """Take a user's lock and let it go."""
    with engine().lock(user_key):
        pass


class LockTests(EngineSuite):
    """Whoever makes, migrates or deletes a database is alone with it."""

    def test_lock_keeps_other_threads_out(self) -> None:
        """A thread waits for a lock that another one has, and gets it afterwards."""
        entered = threading.Event()

        def enter() -> None:
            take_lock("1")
            entered.set()

        thread = threading.Thread(target=enter)
        with engine().lock("1"):
            thread.start()
            self.assertFalse(entered.wait(SHORT))
        self.assertTrue(entered.wait(LONG))
        thread.join()

    def test_lock_keeps_other_processes_out(self) -> None:
        """A process waits for a lock that another one has, and gets it afterwards."""
        other = self.other_process()
        other.call(errands.let_go)  # So that it has started.
        with engine().lock("1"):
            other.start(errands.take_lock, "1")
            self.assertFalse(other.is_done(within=SHORT))
        other.result()

    def test_lock_of_another_user_is_free(self) -> None:
        """Users do not wait for each other."""
        with engine().lock("1"):
            in_thread(lambda: take_lock("2"))
            self.other_process().call(errands.take_lock, "3")

    def test_lock_is_released_after_an_error(self) -> None:
        """A lock ends with its block, also when that raises."""
        with self.assertRaises(ZeroDivisionError), engine().lock("1"):
            raise ZeroDivisionError
        in_thread(lambda: take_lock("1"))

    def test_lock_of_a_killed_process_is_free(self) -> None:
        """A process that is killed leaves no lock behind."""
        other = self.other_process()
        other.call(errands.take_lock, "1")
        other.kill()

        take_lock("1")

    def test_lock_outlives_deletion(self) -> None:
        """Deleting and making a database lets nobody in who waits for its lock."""
        other = self.other_process()
        make("1")
        with engine().lock("1"):
            other.start(errands.take_lock, "1")
            engine().delete("1")
            engine().stage("1", schema.FIRST).publish()
            self.assertFalse(other.is_done(within=SHORT))
        other.result()

    def test_lost_location_gives_no_lock(self) -> None:
        """Where no user databases were ever put, as below a lost mount, there is no lock to have."""
        lost = self.another_engine(self.describe_anew())

        with self.assertRaises(UserDatabaseUnavailable), lost.lock("1"):
            pass
        self.assertFalse(lost.is_initialized())


class LocationTests(EngineSuite):
    """A location that has user databases is told from an empty one."""

    def test_new_location_is_not_initialized(self) -> None:
        """A location is initialized by ``initialize`` and by nothing else."""
        fresh = self.another_engine(self.describe_anew())

        self.assertFalse(fresh.is_initialized())
        self.assertFalse(fresh.exists("1"))
        self.assertEqual(list(fresh.keys()), [])
        fresh.check()
        self.assertFalse(fresh.is_initialized())
        fresh.initialize()
        self.assertTrue(fresh.is_initialized())

    def test_initializing_again_changes_nothing(self) -> None:
        """A location with databases can be initialized once more, by another process."""
        make("1")
        write("1", "mine")
        again = self.another_engine()
        again.initialize()

        self.assertTrue(again.is_initialized())
        self.assertEqual(list(again.keys()), ["1"])
        self.assertEqual(read("1"), ["mine"])

    def test_locations_are_apart(self) -> None:
        """A second location has none of the databases of the first."""
        make("1")
        other = self.another_engine(self.describe_anew())
        other.initialize()

        self.assertFalse(other.exists("1"))
        self.assertEqual(list(other.keys()), [])


class Template:
    """A template that no engine remembers from an earlier test, and how often it was filled."""

    def __init__(self, schema_wanted: str = schema.FIRST) -> None:
        self.fingerprint = uuid.uuid4().hex
        self.schema = schema_wanted
        self.filled = 0

    def fill(self, settings: dict[str, object]) -> None:
        """Make the tables."""
        self.filled += 1
        schema.fill(settings, fingerprint=self.schema)

    def fill_and_fail(self, settings: dict[str, object]) -> None:
        """Make the tables, then fail."""
        self.fill(settings)
        raise ZeroDivisionError

    def build(self) -> None:
        """Have the engine build it."""
        engine().build_template(self.fingerprint, self.fill)

    def is_there(self) -> bool:
        """Tell whether the engine has it."""
        return engine().has_template(self.fingerprint)

    def clone(self, user_key: str) -> None:
        """Make a user's database from it."""
        with engine().lock(user_key):
            engine().stage(user_key, self.fingerprint).publish()


class TemplateTests(EngineSuite):
    """New databases are cloned from a template: built once, empty, one for each schema."""

    def test_template_is_there_once_it_is_built(self) -> None:
        """``has_template`` tells whether a schema has its template."""
        template, other = Template(), Template()
        self.assertFalse(template.is_there())
        template.build()

        self.assertTrue(template.is_there())
        self.assertFalse(other.is_there())
        template.clone("1")
        self.assertEqual(read("1"), [])

    def test_template_is_built_once(self) -> None:
        """Threads that build a template at once, or one after the other, migrate one database."""
        template = Template()
        threads = [threading.Thread(target=in_thread, args=[template.build]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        template.build()

        self.assertEqual(template.filled, 1)
        self.assertTrue(template.is_there())

    def test_template_that_fails_is_none(self) -> None:
        """An error of the migrations arrives, leaves no template, and the next try may succeed."""
        template = Template()
        with self.assertRaises(ZeroDivisionError):
            engine().build_template(template.fingerprint, template.fill_and_fail)
        self.assertFalse(template.is_there())

        template.build()
        template.clone("1")
        self.assertEqual(read("1"), [])

    def test_template_is_nobodys(self) -> None:
        """What a user writes never gets into the template, nor is it taken for a user's database."""
        template = Template()
        template.build()
        self.assertEqual(list(engine().keys()), [])
        template.clone("1")
        write("1", "mine")
        template.clone("2")

        self.assertEqual(read("2"), [])
        self.assertEqual(sorted(engine().keys()), ["1", "2"])

    def test_new_schema_has_a_template_of_its_own(self) -> None:
        """After a change of schema new databases have it, and those that are there stay."""
        first, second = Template(), Template(schema.SECOND)
        first.build()
        first.clone("1")
        write("1", "mine")
        second.build()
        second.clone("2")

        self.assertEqual(read("1"), ["mine"])
        with as_user("2"):
            schema.rows("Entry", at=schema.SECOND).create(text="new", author="me")
            self.assertEqual(schema.rows("Entry", at=schema.SECOND).count(), 1)

    def test_fresh_process_can_make_databases(self) -> None:
        """A process that has built no template finds one or builds it, and then makes databases."""
        make("1")
        other = self.other_process()
        other.call(errands.stage, "2", "made there")

        self.assertEqual(list(engine().keys()), ["1"])
        other.call(errands.let_go)


def files_of(user_key: str) -> Path:
    """Return the directory of a user's own files; skip the test if the engine keeps none."""
    try:
        return engine().files_directory(user_key)
    except NotSupportedByEngine as error:
        raise SkipTest(str(error)) from error


class FileTests(EngineSuite):
    """A user's own files lie beside the database and share its fate, if the engine keeps files."""

    def test_files_directory_is_the_users(self) -> None:
        """Each user has a directory of their own, that stays the same and can be written to."""
        make("1", "2")
        mine, theirs = files_of("1"), files_of("2")
        (mine / "photo").write_bytes(b"mine")

        self.assertFalse(mine.is_relative_to(theirs) or theirs.is_relative_to(mine))
        self.assertEqual(list(theirs.iterdir()), [])
        self.assertEqual((files_of("1") / "photo").read_bytes(), b"mine")
        self.assertEqual(sorted(engine().keys()), ["1", "2"])

    def test_files_go_with_the_database(self) -> None:
        """Deleting the database takes the files along, and a new one starts without them."""
        make("1")
        old = files_of("1")
        (old / "photo").write_bytes(b"mine")
        delete("1")

        with self.assertRaises(UserDatabaseDoesNotExist):
            files_of("1")
        make("1")
        self.assertNotEqual(files_of("1"), old)
        self.assertEqual(list(files_of("1").iterdir()), [])

    def test_files_of_a_staged_database_share_its_fate(self) -> None:
        """Files that the maker of a database puts beside it are published with it, or discarded."""
        staged = self.stage("1")
        (files_of("1") / "photo").write_bytes(b"mine")
        staged.publish()
        self.assertEqual((files_of("1") / "photo").read_bytes(), b"mine")

        staged = self.stage("2")
        path = files_of("2") / "photo"
        path.write_bytes(b"mine")
        staged.discard()
        self.assertFalse(path.exists())


class CheckTests(EngineSuite):
    """Settings that cannot work are found before they are used."""

    def test_good_settings_pass(self) -> None:
        """``check`` has no error for the settings of this suite."""
        found = engine().check()

        self.assertEqual([message for message in found if message.level >= ERROR], [])

    def test_unknown_option_is_found(self) -> None:
        """An option that there is not raises ``InvalidEngine`` or is an error of ``check``."""
        described = self.describe_anew(no_such_option=1)
        try:
            found: list[CheckMessage] = self.another_engine(described).check()
        except InvalidEngine as error:
            self.assertIn("no_such_option", str(error))
        else:
            errors = [str(message) for message in found if message.level >= ERROR]
            self.assertTrue(any("no_such_option" in error for error in errors), errors)

    def test_engine_knows_its_name(self) -> None:
        """``alias`` is the key of its entry in ``USER_DATABASES``, for messages that name it."""
        self.assertEqual(engine().alias, "default")
