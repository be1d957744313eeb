"""django-simple-history: versions of one user's rows, and who made them."""

import asyncio
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import AsyncClient, Client
from django.utils import timezone
from simple_history.models import HistoricalRecords
from simple_history.utils import (
    bulk_create_with_history,
    bulk_update_with_history,
    update_change_reason,
)

from dsud import use_user
from dsud.exceptions import NoActiveUser, WrongUser
from tests.packages.conftest import browser_of, migrations_of, open_as, tables
from tests.packages.journal.models import Entry, HistoricalEntry, Mood, Remark


@pytest.fixture
def entries(each) -> dict[str, Entry]:
    """Give each user an entry with two versions."""
    made = {}
    for user in each():
        entry = Entry.objects.create(owner=user, text=f"first of {user}")
        entry.text = f"second of {user}"
        entry.save()
        made[user.username] = entry
    return made


def test_tables_and_migrations__are_on_the_side_of_the_rows(entries: dict, alice: User) -> None:
    historical = {"journal_historicalentry", "journal_historicalentry_moods"}
    assert tables(alice) >= historical
    assert not tables(None) & historical
    assert migrations_of("journal", alice) == migrations_of("journal", None) == ["0001_initial"]


def test_versions__are_those_of_the_user(entries: dict, each) -> None:
    for user in each():
        entry = Entry.objects.get(pk=1)
        assert [each.text for each in entry.history.all()] == [
            f"second of {user}",
            f"first of {user}",
        ]
        assert list(HistoricalEntry.objects.order_by("pk").values_list("pk", "id")) == [
            (1, 1),
            (2, 1),
        ]
        assert Entry.history.filter(owner__username=user.username).count() == 2
        assert {each.owner for each in Entry.history.select_related("owner")} == {user}
        assert entry.history.latest().instance == entry
        assert entry.history.latest().prev_record.text == f"first of {user}"
        assert entry.history.earliest().next_record.text == f"second of {user}"
        assert entry.history.most_recent().text == f"second of {user}"


def test_as_of__goes_back_in_one_users_time(entries: dict, each) -> None:
    for user in each():
        first = Entry.history.earliest()
        assert Entry.objects.get().history.as_of(first.history_date).text == f"first of {user}"
        assert [each.text for each in Entry.history.as_of(first.history_date)] == [
            f"first of {user}"
        ]
        assert [each.text for each in Entry.history.as_of(timezone.now())] == [f"second of {user}"]
        past = first.history_date - timedelta(days=1)
        assert list(Entry.history.as_of(past)) == []
        with pytest.raises(Entry.DoesNotExist):
            Entry.objects.get().history.as_of(past)


def test_historic_key__is_followed_in_one_users_time(entries: dict, each) -> None:
    for user in each():
        remark = Remark.objects.create(entry=Entry.objects.get(), text=f"by {user}")
        when = timezone.now()
        entry = Entry.objects.get()
        entry.text = "third"
        entry.save()
        then = Remark.history.as_of(when).get()
        assert then.entry.text == f"second of {user}"
        assert Remark.objects.get().entry.text == "third"
        assert [each.text for each in Entry.history.as_of(when).get().remarks.all()] == [
            remark.text
        ]


def test_difference__names_changed_fields_and_related_rows(entries: dict, each) -> None:
    for user in each():
        mood = Mood.objects.create(name=f"mood of {user}")
        entry = Entry.objects.get()
        entry.moods.add(mood)
        newest, previous = entry.history.all()[:2]
        delta = newest.diff_against(previous, foreign_keys_are_objs=True)
        assert delta.changed_fields == ["moods"]
        assert delta.changes[0].new == [{"entry": entry, "mood": mood}]
        assert [row.mood for row in newest.moods.all()] == [mood]
        second, first = entry.history.all()[1:3]
        assert second.diff_against(first).changed_fields == ["text"]


def test_revert__writes_the_version_back(entries: dict, alice: User, bob: User) -> None:
    with use_user(alice):
        Entry.history.earliest().instance.save()
        assert Entry.objects.get().text == "first of alice"
    with use_user(bob):
        assert Entry.objects.get().text == "second of bob"


def test_bulk_utilities__write_rows_and_versions_of_one_user(
    entries: dict, alice: User, bob: User
) -> None:
    with use_user(alice):
        new = [Entry(owner=alice, text=f"bulk {number}") for number in range(3)]
        rows = bulk_create_with_history(
            new, Entry, default_user=alice, default_change_reason="many"
        )
        assert [row.pk for row in rows] == [2, 3, 4]
        for row in rows:
            row.text += "!"
        assert bulk_update_with_history(rows, Entry, ["text"], default_user=alice) == 3
        assert Entry.history.filter(id=2).count() == 2
        assert {each.history_user for each in Entry.history.filter(id__gt=1)} == {alice}
    with use_user(bob):
        assert Entry.objects.count() == 1
        assert Entry.history.count() == 2


def test_bulk_utilities__refuse_anothers_objects(entries: dict, alice: User, bob: User) -> None:
    hers = entries["alice"]
    hers.text = "taken"
    with use_user(bob):
        with pytest.raises(WrongUser):
            bulk_update_with_history([hers], Entry, ["text"])
        with pytest.raises(WrongUser):
            bulk_create_with_history([hers], Entry)
        assert Entry.objects.get().text == "second of bob"
        assert Entry.history.count() == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda entry: entry.save(),
        lambda entry: entry.delete(),
        lambda entry: entry.save_without_historical_record(),
        lambda entry: list(entry.history.all()),
        lambda entry: entry.history.count(),
        lambda entry: entry.history.most_recent(),
        lambda entry: entry.history.as_of(timezone.now()),
        lambda entry: entry.history.earliest(),
        lambda entry: entry.history.update(text="taken"),
        lambda entry: entry.moods.add(Mood.objects.create(name="his")),
        lambda entry: update_change_reason(entry, "taken"),
    ],
    ids=[
        *("save", "delete", "unrecorded", "all", "count", "recent", "as_of", "earliest"),
        *("update", "m2m", "reason"),
    ],
)
def test_anothers_object__has_no_history_here(entries: dict, bob: User, use) -> None:
    with use_user(bob):
        before = list(Entry.history.values_list())
        with pytest.raises(WrongUser):
            use(entries["alice"])
        assert list(Entry.history.values_list()) == before
        assert Entry.objects.get().text == "second of bob"


def test_anothers_version__cannot_be_used(entries: dict, alice: User, bob: User) -> None:
    with use_user(alice):
        version = Entry.history.earliest()
        versions = Entry.history.all()
        evaluated = Entry.history.as_of(timezone.now())
        list(evaluated)
    with use_user(bob):
        for use in (
            version.save,
            version.delete,
            lambda: list(versions),
            lambda: list(evaluated),
            version.refresh_from_db,
        ):
            with pytest.raises(WrongUser):
                use()
        assert Entry.history.count() == 2


@pytest.mark.parametrize("name", ["next_record", "prev_record"])
def test_neighbour_of_anothers_version__is_not_looked_for(
    entries: dict, alice: User, bob: User, name: str
) -> None:
    with use_user(alice):
        version = Entry.history.earliest()
        if name == "prev_record":  # Because the other's were made later.
            version.history_date = timezone.now()
    with use_user(bob), pytest.raises(WrongUser):
        getattr(version, name)


def test_instance_of_anothers_version__is_not_written_here(
    entries: dict, alice: User, bob: User
) -> None:
    with use_user(alice):
        version = Entry.history.earliest()
    with use_user(bob):
        with pytest.raises(WrongUser):
            version.instance.save()
        assert Entry.objects.get().text == "second of bob"


def test_history_with_nobody_active__raises(entries: dict) -> None:
    with pytest.raises(NoActiveUser):
        Entry.history.count()
    with pytest.raises(NoActiveUser):
        HistoricalEntry.objects.count()


def test_deleted_row__leaves_its_history_to_its_user(entries: dict, alice: User, bob: User) -> None:
    with use_user(alice):
        Entry.objects.get().delete()
        assert [each.history_type for each in Entry.history.all()] == ["-", "~", "+"]
        assert Entry.history.as_of(timezone.now()).count() == 0
    with use_user(bob):
        Remark.objects.create(entry=Entry.objects.get(), text="goes with its history")
        Entry.objects.all().delete()
        assert Remark.history.count() == 0
        assert Entry.history.count() == 3


def test_deleted_user__leaves_the_others_history(entries: dict, alice: User, bob: User) -> None:
    alice.delete()
    with use_user(bob):
        assert Entry.history.count() == 2


def test_cleaning_commands__run_as_one_user(entries: dict, alice: User, bob: User) -> None:
    with use_user(alice):
        Entry.objects.get().save()
        call_command("clean_duplicate_history", auto=True, verbosity=0)
        assert Entry.history.count() == 2
        Entry.history.update(history_date=timezone.now() - timedelta(days=100))
        call_command("clean_old_history", auto=True, days=30, verbosity=0)
        assert Entry.history.count() == 0
    with use_user(bob):
        assert Entry.history.count() == 2
        Entry.history.all().delete()
        call_command("populate_history", "journal.Entry", verbosity=0)
        assert Entry.history.count() == 1
    with use_user(alice):
        assert Entry.history.count() == 0


def test_history_user__is_the_requests(alice: User, bob: User) -> None:
    for user in (alice, bob):
        browser = browser_of(user)
        assert browser.post("/journal/write/", {"text": f"of {user}"}).content == b"1"
        browser.post("/journal/write/", {"pk": 1, "text": f"changed by {user}"})
        assert browser.post("/journal/1/delete/").content == b"gone"
        assert browser.get("/journal/1/history/").content.decode().splitlines() == [
            f"+of {user} by {user}",
            f"~changed by {user} by {user}",
            f"-changed by {user} by {user}",
        ]
    assert not hasattr(HistoricalRecords.context, "request")
    assert Client().post("/journal/write/", {"text": "whose"}).status_code == 403


def test_history_user__is_the_requests_in_asynchronous_browsers(alice: User, bob: User) -> None:
    async def write_at_once() -> list[bytes]:
        browsers = []
        for user in (alice, bob):
            browsers.append(AsyncClient())
            await browsers[-1].aforce_login(user)
        answers = [each.post("/journal/write/", {"text": "x"}) for each in browsers * 3]
        return [answer.content for answer in await asyncio.gather(*answers)]

    assert sorted(asyncio.run(write_at_once())) == [b"1", b"1", b"2", b"2", b"3", b"3"]
    for user in (alice, bob):
        with use_user(user):
            assert {each.history_user for each in Entry.history.all()} == {user}
            assert Entry.history.filter(history_user__username=user.username).count() == 3


def test_admin__writes_the_operator_into_the_users_history(
    entries: dict, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    form = {"owner": bob.pk, "text": "corrected"}
    assert browser.post("/admin/journal/entry/1/change/", form).status_code == 302
    with use_user(bob):
        version = Entry.history.latest()
        assert (version.text, version.history_user) == ("corrected", operator)
        assert version.history_user_id == operator.pk
    with use_user(alice):
        assert Entry.objects.get().text == "second of alice"

    page = browser.get("/admin/journal/entry/1/history/").content.decode()
    assert "operator" in page
    assert "corrected" in page
    assert "of alice" not in page


def test_admin__reverts_a_version_of_whom_is_switched_to(
    entries: dict, operator: User, alice: User, bob: User
) -> None:
    browser = open_as(operator, bob)
    page = browser.get("/admin/journal/entry/1/history/1/")
    assert "first of bob" in page.content.decode()
    form = {"owner": bob.pk, "text": "first of bob"}
    assert browser.post("/admin/journal/entry/1/history/1/", form).status_code == 302
    with use_user(bob):
        assert Entry.objects.get().text == "first of bob"
    with use_user(alice):
        assert Entry.objects.get().text == "second of alice"


def test_deleted_operator__leaves_versions_that_name_nobody_who_is_there(
    entries: dict, operator: User, bob: User
) -> None:
    with use_user(bob):
        entry = Entry.objects.get()
        entry._history_user = operator
        entry.save()
        assert Entry.history.select_related("history_user").latest().history_user == operator
    User.objects.get(pk=operator.pk).delete()
    with use_user(bob):
        assert Entry.history.count() == 3
        with pytest.raises(User.DoesNotExist):
            _ = Entry.history.latest().history_user
    successor = User.objects.create_superuser("successor")
    page = open_as(successor, bob).get("/admin/journal/entry/1/history/")
    assert page.status_code == 200
    assert "second of bob" in page.content.decode()


def test_version__of_anothers_row_builds_no_row(entries: dict, alice: User, bob: User) -> None:
    """What a version builds has no owner, so that saving it would put her text into his row."""
    with use_user(alice):
        version = Entry.history.latest()
        assert version.history_object.text == "second of alice"
    with use_user(bob):
        for name in ("instance", "history_object"):
            with pytest.raises(WrongUser):
                getattr(version, name).save()
        assert Entry.objects.get().text == "second of bob"
