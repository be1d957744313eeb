"""The suite for engines: ours passes it, so does one written from the documentation, and broken ones do not."""

import gc
import io
import shutil
import unittest
from unittest.mock import patch

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.db.models import Count

from dsud import fleet, opening, use_user
from dsud.engines import build, engine
from dsud.engines.abilities import DISTINCT_KEYS
from dsud.engines.base import BaseEngine
from dsud.engines.sqlite import files
from dsud.exceptions import FleetFailed, NotSupportedByEngine, UserDatabaseDoesNotExist
from dsud.testing import conformance
from tests.broken_engines import NeverEndsReading
from tests.documents import DOCS, blocks_of
from tests.notes.models import Note
from tests.servers import ROOT


@pytest.fixture(autouse=True)
def directory_of_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the settings of other processes make no directory, because nobody would remove it."""
    monkeypatch.setenv("DSUD_TEST_DIR", str(settings.BASE_DIR))


class TestSQLite(conformance.EngineConformance):
    engine = {"ENGINE": "dsud.engines.sqlite"}

    def put_in_place(self, user_key, *, of):
        source, target = engine()._live(user_key), engine()._live(of)
        for path in target.parent.glob("db.sqlite3*"):
            path.unlink()
        for path in source.parent.glob("db.sqlite3*"):
            shutil.copyfile(path, target.parent / path.name)


class TestFlatEngine(conformance.EngineConformance):
    engine = {"ENGINE": "tests.flat_engine"}
    fleet_size = 100

    def put_in_place(self, user_key, *, of):
        shutil.copyfile(engine().published_path(user_key), engine().published_path(of))


#: What each broken engine does wrong, and the tests that find it.
FOUND_BY = {
    "SharedSettings": ["settings_are_given_anew"],
    "NumbersOnly": ["ordinary_keys_are_accepted", "hostile_key_is_accepted_or_refused"],
    "MakesWhenAsked": ["asking_makes_nothing"],
    "FoldsCase": [
        "two_keys_never_share_a_database",
        "settings_tell_keys_apart_where_case_is_folded",
    ],
    "Slugs": ["two_keys_never_share_a_database"],
    "SpellsKeys": [
        "two_keys_never_share_a_database",
        "settings_tell_keys_apart_where_case_is_folded",
    ],
    "PublishesOver": ["publishing_overwrites_nothing"],
    "ShowsStagedToThreads": ["staged_database_is_hidden_from_other_threads"],
    "ShowsStagedToAll": [
        "staged_database_is_not_there",
        "staged_database_is_hidden_from_other_processes",
        "maker_that_is_killed_leaves_nothing",
    ],
    "KeepsDiscarded": ["discarding_leaves_nothing"],
    "DiscardsPublished": ["discarding_after_publishing_does_nothing"],
    "KeepsTestUsers": [
        "database_staged_for_a_test_is_its_makers",
        "database_staged_for_a_test_leaves_no_trace",
    ],
    "BeginsEmpty": ["staged_database_begins_with_rows"],
    "PrefersWhatIsInPlace": ["database_staged_for_a_test_hides_the_one_in_place"],
    "SharesAmongTestUsers": ["databases_staged_for_a_test_are_apart"],
    "LeavesToTestUsers": [
        "database_staged_for_a_test_leaves_no_trace",
        "database_staged_for_a_test_passes_nothing_on",
    ],
    "ListsSome": ["all_keys_are_listed"],
    "ConstantSize": ["size_counts_what_is_written", "size_of_nothing_is_an_error"],
    "MakesEmptyOnes": ["missing_database_is_an_error", "deleted_database_is_not_there"],
    "AsksNobody": ["missing_database_is_asked_for", "what_missing_raises_arrives"],
    "OpensAnything": ["database_of_another_user_is_refused"],
    "DeletesNothing": ["deleted_database_is_not_there", "deleting_nothing_is_an_error"],
    "DeletesOthersToo": ["deleting_leaves_others_alone"],
    "ReusesPaths": ["place_is_not_used_again"],
    "BringsBackOldRows": ["database_after_deletion_is_empty"],
    "LocksNobody": [
        "lock_keeps_other_threads_out",
        "lock_keeps_other_processes_out",
        "lock_outlives_deletion",
        "lost_location_gives_no_lock",
    ],
    "LocksThreadsOnly": ["lock_keeps_other_processes_out"],
    "LocksForever": ["lock_of_a_killed_process_is_free", "lock_is_released_after_an_error"],
    "LocksEverybody": ["lock_of_another_user_is_free"],
    "NeverLost": ["new_location_is_not_initialized", "lost_location_gives_no_lock"],
    "BuildsEachTime": ["template_is_built_once"],
    "KeepsBrokenTemplates": ["template_that_fails_is_none"],
    "ClonesUsers": ["template_is_nobodys"],
    "OneTemplate": ["template_is_there_once_it_is_built"],
    "OneDirectory": ["files_directory_is_the_users", "files_go_with_the_database"],
    "Nothing": ["unknown_option_is_found"],
    "AsksNobodyForCursors": ["cursor_is_asked_for", "connection_of_another_user_is_refused"],
    "JudgesNobody": ["opened_database_is_judged", "what_judging_raises_arrives"],
    "KeepsRefused": ["refused_database_is_judged_again"],
    "JudgesOnce": ["refused_database_is_judged_again"],
    "AsksNobodyForRows": ["cursor_use_is_asked_for", "queries_of_the_orm_are_asked_for"],
    "AsksForFirstRowOnly": ["each_row_is_asked_for"],
    "KeepsConnections": ["connection_is_given_back"],
    "HasNoCap": ["connections_are_never_more_than_the_cap"],
    "NeverCleans": ["half_read_cursor_does_not_leak", "open_transaction_does_not_leak"],
    "ForgetsToLook": ["temporary_table_does_not_leak", "changed_setting_does_not_leak"],
    "HasNoForeignKeys": [
        "foreign_key_is_enforced_at_commit",
        "migration_keeps_constraints",
    ],
    "TrustsNoSchema": ["functions_work_inside_the_schema", "values_come_back_as_they_were"],
    "KeepsReferences": ["key_to_a_shared_row_is_not_enforced"],
    "CommitsNothing": [
        "savepoint_is_rolled_back_alone",
        "uncommitted_rows_are_hidden",
        "callback_runs_after_the_commit",
        "default_and_user_commit_together",
        "two_writers_lose_nothing",
    ],
    "GivesNoRanges": [
        "new_databases_have_their_ranges",
        "database_staged_for_a_test_has_its_range",
        "rows_keep_their_keys",
    ],
    "OneSequence": ["other_tables_are_left_alone"],
    "StartsOver": ["beginning_again_gives_no_key_twice"],
    "KnowsNoNumber": ["rows_keep_their_keys", "new_databases_have_their_ranges"],
    "DoesNotLook": ["last_key_is_told"],
    "CannotAfterAll": ["ranges_are_refused_or_given"],
    "RefusesNothing": ["read_only_refuses_changes", "read_only_lasts_as_long_as_the_outer_block"],
    "FreesTooEarly": ["read_only_lasts_as_long_as_the_outer_block"],
    "KeepsWritersOut": ["read_only_transaction_keeps_no_writer_out"],
    "WritesWhereItReads": ["reading_changes_nothing"],
    "ReadsAnybodys": ["reading_another_users_database_is_refused"],
    "NeverEndsReading": ["reading_gives_what_is_there"],
    "MakesWhatItReads": ["reading_nothing_makes_nothing"],
    "WrittenLongAgo": ["last_written_is_when_it_was_written"],
    "WrittenByNobody": ["last_written_of_nobody"],
    "TakesNoSnapshotsAfterAll": ["snapshots_are_refused_or_taken"],
    "RestoresNothing": ["snapshot_is_restored"],
    "RestoresAnything": ["unknown_snapshot_is_an_error"],
    "KeepsAllSnapshots": ["newest_snapshots_are_kept"],
    "ListsTheNewestFirst": ["newest_snapshots_are_kept"],
    "SharesSnapshots": ["snapshots_are_the_users"],
    "CopiesNothing": ["copy_is_apart"],
    "RehearsesInPlace": ["copy_is_apart"],
    "StampsAll": ["stamp_is_seen_by_a_glance"],
    "SeesNoStamp": ["stamp_is_seen_by_a_glance"],
    "AttachesAnother": ["attaching_is_refused_or_works"],
    "AttachesNobodys": ["attaching_is_refused_or_works"],
    "AttachesUnasked": ["attaching_is_refused_or_works"],
    "PreparesNothing": ["file_is_taken_over_as_it_was_prepared"],
    "TakesOverAtOnce": ["file_is_taken_over_as_it_was_prepared"],
    "GivesKeysTwice": ["migration_gives_no_key_twice", "range_survives_a_migration"],
}


def run(broken: str, name: str) -> unittest.TestResult:
    """Run one test of the suite on an engine that breaks a promise."""

    class Suite(conformance.EngineConformance):
        engine = {"ENGINE": "tests.broken_engines", "OPTIONS": {"broken": broken}}
        fleet_size = 60
        put_in_place = TestSQLite.put_in_place

    result = unittest.TestResult()
    with patch.object(files, "LOCK_WAIT", 1.0):
        unittest.TestSuite([Suite(f"test_{name}")]).run(result)
    assert result.testsRun == 1
    assert not result.skipped
    return result


@pytest.mark.django_db(transaction=True)
# Because an engine that is broken may leave connections behind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("broken", "name"), [(broken, name) for broken, names in FOUND_BY.items() for name in names]
)
def test_suite__finds_what_is_broken(broken: str, name: str) -> None:
    result = run(broken, name)
    gc.collect()
    while NeverEndsReading.begun:
        NeverEndsReading.begun.pop().__exit__(None, None, None)

    assert result.failures or result.errors


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_suite__finds_nothing_where_nothing_is_broken() -> None:
    names = {name for names in FOUND_BY.values() for name in names} - {"unknown_option_is_found"}
    for name in sorted(names):
        result = run("Nothing", name)
        assert not result.failures + result.errors, name
    gc.collect()


def test_suite__is_not_collected_where_it_is_imported() -> None:
    """Only classes that name an engine are tests."""
    assert not conformance.EngineConformance.__test__
    assert TestSQLite.__test__
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(conformance.EngineConformance).run(result)
    assert [reason for _, reason in result.skipped] == ["The class names no engine."]


def test_suite__says_what_each_test_checks() -> None:
    names = unittest.defaultTestLoader.getTestCaseNames(conformance.EngineConformance)

    assert [
        name for name in names if not getattr(conformance.EngineConformance, name).__doc__
    ] == []


@pytest.mark.django_db(transaction=True)
def test_flat_engine__serves_a_site(tmp_path, settings, django_user_model) -> None:
    """What the contract asks for is enough for sign-up, queries, commands and deletion."""
    settings.USER_DATABASES = {
        "default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path / "flat"}
    }
    alice = django_user_model.objects.create_user("alice")
    with use_user(alice):
        Note.objects.create(text="mine")
    with transaction.atomic():
        bob = django_user_model.objects.create_user("bob")
        with use_user(bob):
            Note.objects.create(text="made before the commit")
    call_command("migrate_user_dbs", stdout=io.StringIO())

    assert sorted(engine().keys()) == sorted(map(str, (alice.pk, bob.pk)))
    with use_user(bob):
        assert Note.objects.get().text == "made before the commit"
    key = alice.pk
    alice.delete()
    assert list(engine().keys()) == [str(bob.pk)]
    with use_user(key), pytest.raises(UserDatabaseDoesNotExist):
        Note.objects.count()


@pytest.mark.parametrize("name", ["__init__.py", "base.py"])
def test_flat_engine__is_the_one_of_the_documentation(name: str) -> None:
    page = DOCS / "howto/write-an-engine.md"
    (block,) = [block for block in blocks_of(page) if block.file == f"flat_engine/{name}"]

    assert block.text.partition("\n")[2] == (ROOT / "tests/flat_engine" / name).read_text()


@pytest.mark.parametrize(
    ("ask", "feature"),
    [
        (lambda flat: flat.read_only(None), "refuse changes to a user's database"),
        (lambda flat: flat.stage_copy("1"), "copy a user's database aside"),
        (lambda flat: flat.take_snapshot("1", "1"), "take snapshots"),
        (lambda flat: flat.restore_snapshot("1", "1"), "take snapshots"),
        (lambda flat: flat.stage_from("1", None, prepare=None), "take over SQLite files"),
        (lambda flat: flat.attachable("1"), "attach a user's database"),
        (lambda flat: flat.key_number(None), DISTINCT_KEYS),
        (lambda flat: flat.begin_keys(None, None), DISTINCT_KEYS),
        (lambda flat: BaseEngine.files_directory(flat, "1"), "keep files beside a user's database"),
    ],
)
def test_abilities__that_an_engine_lacks(tmp_path, ask, feature: str) -> None:
    flat = build("default", {"default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path}})

    with pytest.raises(NotSupportedByEngine) as caught:
        ask(flat)
    assert str(caught.value) == (
        f"The engine of USER_DATABASES['default'] cannot {feature}."
        " Do without, or choose another engine."
    )
    assert (caught.value.alias, caught.value.feature) == ("default", feature)


def test_abilities__that_can_be_done_without(tmp_path) -> None:
    flat = build("default", {"default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path}})

    assert flat.reading("1") is flat.last_written("1") is flat.replayer() is None
    assert list(flat.snapshots("1")) == []
    assert not flat.has_stamp("1", "9" * 32)
    flags = flat.supports_snapshots, flat.supports_distinct_keys, flat.attaches
    assert flags == (False, False, False)


@pytest.mark.django_db(transaction=True)
def test_flat_engine__is_asked_by_no_fleet_that_must_not_write(
    tmp_path, settings, django_user_model
) -> None:
    settings.USER_DATABASES = {
        "default": {"ENGINE": "tests.flat_engine", "LOCATION": tmp_path / "flat"}
    }
    key = str(django_user_model.objects.create_user("alice").pk)
    for ask in (
        lambda: fleet.for_each(len, [key], read_only=True, workers=1).raise_failures(),
        lambda: fleet.aggregate(lambda key: Note.objects.all(), [key], workers=1, n=Count("pk")),
        lambda: list(fleet.query(lambda key: Note.objects.all(), [key], workers=1)),
    ):
        with pytest.raises(FleetFailed) as caught:
            ask()
        assert isinstance(caught.value.failures[key], NotSupportedByEngine)
        assert opening.may_migrate()  # Again, for what comes after.
    assert [each.error for each in fleet.for_each(len, [key], workers=1)] == [None]
