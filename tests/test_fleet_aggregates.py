"""Numbers over all users: the same as over one table with all their rows."""

import datetime as dt
import random
import signal
import sqlite3
import uuid
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from unittest import mock

import pytest
import pytest_django
from django.apps import apps
from django.contrib.auth.models import User
from django.db.backends.signals import connection_created
from django.db.models import Avg, Count, F, Max, Min, Q, QuerySet, StdDev, Sum
from django.db.models.functions import Lower, TruncMonth
from django.db.models.sql import Query
from django.test import TestCase
from django.utils import timezone

from dsud import fleet, use_user
from dsud.engines import engine
from dsud.exceptions import FleetFailed, WrongUser
from dsud.fleet import Processes, Threads, compiled
from dsud.pool import pool
from tests.leasing import people, write
from tests.library.models import Book
from tests.notes.models import Note, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("location")]

CREWS = pytest.mark.parametrize(
    "crew", [1, Processes(2), Threads(2)], ids=["alone", "processes", "threads"]
)


def sign_up(*names: str) -> list[User]:
    return [User.objects.create(username=name) for name in names]


def keys_of(users: list[User]) -> list[str]:
    return [str(user.pk) for user in users]


@pytest.fixture
def sums(settings: pytest_django.Settings) -> None:
    """Install the app with everything that can be summed."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.sums"]
    apps.clear_cache()  # Because Django does not while it loads apps.
    settings.DSUD_APPS = [*settings.DSUD_APPS, "sums"]


def entries(count: int) -> list[object]:
    from tests.sums.models import Entry

    dice = random.Random(7)

    def or_none(value: object) -> object:
        return None if dice.random() < 0.2 else value

    return [
        Entry(
            name=dice.choice(["ä", "b", "Z", ""]),
            number=or_none(dice.randint(-(10**6), 10**6)),
            price=or_none(Decimal(dice.randint(-9_999, 99_999)) / 100),
            weight=or_none(dice.uniform(-5, 5)),
            day=or_none(dt.date(2026, 1, 1) + dt.timedelta(dice.randint(0, 900))),
            moment=or_none(
                dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(0, dice.randint(0, 10**8))
            ),
            hour=or_none(dt.time(dice.randint(0, 23), dice.randint(0, 59))),
            span=or_none(dt.timedelta(0, dice.randint(0, 10**5), dice.randint(0, 10**6))),
            code=or_none(uuid.UUID(int=dice.getrandbits(128))),
        )
        for _ in range(count)
    ]


def of_all_kinds() -> dict[str, object]:
    fields = ("number", "price", "weight", "span")
    comparable = (*fields, "name", "day", "moment", "hour", "code")
    return {
        "rows": Count("*"),
        "numbers": Count("number"),
        "big": Count("pk", filter=Q(number__gt=0)),
        **{f"sum_{name}": Sum(name) for name in fields},
        **{f"avg_{name}": Avg(name) for name in fields},
        **{f"min_{name}": Min(name) for name in comparable},
        **{f"max_{name}": Max(name) for name in comparable},
        "sum_of_some": Sum("number", filter=Q(name="b"), default=5),
        "avg_of_some": Avg("price", filter=Q(name="b"), default=Decimal(7)),
        "sum_of_none": Sum("number", filter=Q(name="nobody"), default=5),
        "avg_of_none": Avg("number", filter=Q(name="nobody"), default=-1),
        "max_of_none": Max("number", filter=Q(name="nobody")),
        "expression": Sum(F("number") * 2 + 1),
        "lower": Min(Lower("name")),
        "month": Max(TruncMonth("moment")),
    }


@CREWS
def test_aggregate__is_that_of_one_table_with_all_rows(sums: None, crew: object) -> None:
    from tests.sums.models import Entry

    *users, everybody = sign_up("alice", "bob", "carol", "dave", "empty", "everybody")
    rows = entries(200)
    for place, user in enumerate(users[:4]):
        with use_user(user):
            Entry.objects.bulk_create(rows[50 * place : 50 * place + 50])
    with use_user(everybody):
        Entry.objects.bulk_create(entries(200))
        expected = Entry.objects.aggregate(**of_all_kinds())
    found = fleet.aggregate(
        lambda key: Entry.objects.all(), keys_of(users), workers=crew, **of_all_kinds()
    )

    inexact = {name for name in found if name.startswith(("avg_", "sum_weight", "sum_price"))}
    for name in inexact - {"avg_span"}:
        assert float(found.pop(name)) == pytest.approx(float(expected.pop(name))), name
    assert abs(found.pop("avg_span") - expected.pop("avg_span")) < dt.timedelta(0, 0, 2)
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


def test_aggregate__types_of_averages_and_decimals(sums: None) -> None:
    from tests.sums.models import Entry

    users = sign_up("alice", "bob")
    for user, price in zip(users, ("0.10", "0.20"), strict=True):
        with use_user(user):
            Entry.objects.create(name="x", price=Decimal(price), number=1)
    found = fleet.aggregate(
        lambda key: Entry.objects.all(), total=Sum("price"), mean=Avg("price"), one=Avg("number")
    )
    assert found == {"total": Decimal("0.3"), "mean": Decimal("0.15"), "one": 1.0}
    assert [type(each) for each in found.values()] == [Decimal, Decimal, float]


def test_aggregate__nobody_and_nothing() -> None:
    asked = {"count": Count("pk"), "sum": Sum("pk"), "max": Max("pk"), "mean": Avg("pk")}
    nothing = {"count": 0, "sum": None, "max": None, "mean": None}
    assert fleet.aggregate(lambda key: Note.objects.all(), **asked) == nothing
    sign_up("alice", "bob")
    assert fleet.aggregate(lambda key: Note.objects.all(), **asked) == nothing
    assert fleet.aggregate(lambda key: Note.objects.none(), **asked) == nothing


def tagged(user: User, *names: str) -> None:
    with use_user(user):
        note = Note.objects.create(text=f"of {user}")
        note.tags.set([Tag.objects.get_or_create(name=name)[0] for name in names])


@CREWS
def test_aggregate__queries_of_every_shape(crew: object) -> None:
    alice, bob, carol = sign_up("alice", "bob", "carol")
    tagged(alice, "red", "green")
    tagged(alice, "red")
    tagged(bob, "red", "blue", "green")
    tagged(carol)

    def count(query: object) -> object:
        return fleet.aggregate(query, workers=crew, count=Count("pk"))["count"]

    assert count(lambda key: Note.objects.all()) == 4
    assert count(lambda key: Note.objects.filter(tags__name="red")) == 3
    assert count(lambda key: Note.objects.filter(tags__name__in=["red", "blue"]).distinct()) == 3
    assert count(lambda key: Note.objects.filter(tags__name__in=["red", "blue"])) == 4
    assert count(lambda key: Note.objects.order_by("text")[:1]) == 3
    assert count(lambda key: Note.objects.annotate(many=Count("tags")).filter(many__gt=1)) == 2
    assert count(lambda key: Note.objects.filter(text__iregex="ALICE|carol")) == 3
    names = {str(user.pk): user.username for user in (alice, bob, carol)}
    assert count(lambda key: Note.objects.filter(text=f"of {names[key]}")) == 4
    assert count(lambda key: Note.objects.filter(pk__in=Note.objects.filter(pk=1))) == 3
    total = fleet.aggregate(
        lambda key: Note.objects.annotate(many=Count("tags")), workers=crew, tags=Sum("many")
    )
    assert total == {"tags": 6}


def test_aggregate__is_compiled_once_for_all_who_are_asked_the_same() -> None:
    users = people(5)
    others = [str(user.pk) for user in users[3:]]

    def question(key: str) -> QuerySet[Note]:
        return Note.objects.filter(text__startswith="other" if key in others else "person")

    # Once before, because fields remember things when they are asked for the first time.
    assert fleet.aggregate(question, count=Count("pk")) == {"count": 3}
    assert learned_by(question, count=Count("pk")) == 2


def learned_by(function: object, **aggregates: object) -> int:
    real = compiled.Statements._learn
    with mock.patch.object(
        compiled.Statements, "_learn", autospec=True, side_effect=real
    ) as learned:
        fleet.aggregate(function, **aggregates)
    return int(learned.call_count)


def test_aggregate__what_only_djangos_connection_can() -> None:
    """Such as functions that Django, or the site, adds to each connection."""
    people(4)
    pool.close_idle()
    assert learned_by(lambda key: Note.objects.filter(text__iregex="p"), n=Count("pk")) == 4
    assert learned_by(lambda key: Note.objects.all(), n=Count("pk")) == 1

    def add(**kwargs: object) -> None: ...

    connection_created.connect(add)
    try:
        assert learned_by(lambda key: Note.objects.all(), n=Count("pk")) == 4
    finally:
        connection_created.disconnect(add)


def test_aggregate__time_zones_are_part_of_the_question(sums: None) -> None:
    from tests.sums.models import Entry

    users = sign_up("alice", "bob")
    for user in users:
        with use_user(user):
            Entry.objects.create(name="x", moment=dt.datetime(2026, 5, 1, 0, 30, tzinfo=dt.UTC))

    def question(key: str) -> QuerySet[object]:
        timezone.activate("UTC" if key == str(users[0].pk) else "America/New_York")
        return Entry.objects.filter(moment__month=5)

    try:
        assert fleet.aggregate(question, count=Count("pk")) == {"count": 1}
    finally:
        timezone.deactivate()


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (Min(TruncMonth("moment")), (2026, 4)),
        (Min("moment__month"), 4),
        (Count("pk", filter=Q(moment__month=5)), 1),
    ],
)
def test_aggregate__time_zones_are_part_of_what_is_asked_of_all_rows(
    sums: None, aggregate: object, expected: object
) -> None:
    from tests.sums.models import Entry

    users = sign_up("alice", "bob")
    for user in users:
        with use_user(user):
            Entry.objects.create(name="x", moment=dt.datetime(2026, 5, 1, 0, 30, tzinfo=dt.UTC))

    def question(key: str) -> QuerySet[object]:
        timezone.activate("UTC" if key == str(users[0].pk) else "America/New_York")
        return Entry.objects.all()

    try:
        found = fleet.aggregate(question, keys_of(users), asked=aggregate)["asked"]
    finally:
        timezone.deactivate()
    assert ((found.year, found.month) if isinstance(found, dt.datetime) else found) == expected


class FirstOnly(Query):
    """A query that is like any other until it is run."""

    def get_aggregation(self, *args: object) -> object:
        self.add_q(Q(pk=1))
        return super().get_aggregation(*args)


def test_aggregate__queries_of_two_kinds_are_two() -> None:
    alice, bob = people(2)
    for user in (alice, bob):
        write(user, "another")

    def question(key: str) -> QuerySet[Note]:
        return Note.objects.all() if key == str(alice.pk) else QuerySet(Note, FirstOnly(Note))

    assert fleet.aggregate(question, count=Count("pk")) == {"count": 3}


def test_aggregate__ctrl_c_stops_after_the_database_in_hand() -> None:
    users = people(3)
    asked: list[str] = []

    def question(key: str) -> QuerySet[Note]:
        asked.append(key)
        signal.raise_signal(signal.SIGINT)
        return Note.objects.all()

    with pytest.raises(KeyboardInterrupt):
        fleet.aggregate(question, keys_of(users), count=Count("pk"))
    assert asked == keys_of(users[:1])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_aggregate__another_users_rows_in_the_question_are_refused() -> None:
    alice, bob = sign_up("alice", "bob")
    tagged(alice, "red")
    tagged(bob, "red")
    with use_user(alice):
        red = Tag.objects.get(name="red")
        hers = Note.objects.all()
    for question in (lambda key: Note.objects.filter(tags=red), lambda key: hers):
        with pytest.raises(FleetFailed) as caught:
            fleet.aggregate(question, count=Count("pk"))
        assert list(caught.value.failures) == [str(bob.pk)]
        assert isinstance(caught.value.failures[str(bob.pk)], WrongUser)
        assert caught.value.result == {"count": 1}


@pytest.mark.parametrize("crew", [1, Processes(2)], ids=["alone", "processes"])
def test_aggregate__failures_and_what_came_of_the_others(crew: object) -> None:
    alice, bob, carol = people(3)
    pool.close_idle()
    path = engine().path_of(str(bob.pk))
    for sidecar in path.parent.glob("db.sqlite3-*"):
        sidecar.unlink()
    path.write_bytes(b"garbage" * 2_000)
    with pytest.raises(FleetFailed) as caught:
        fleet.aggregate(
            lambda key: Note.objects.all(),
            [*keys_of([alice, bob, carol]), "4711"],
            workers=crew,
            count=Count("pk"),
        )
    assert caught.value.result == {"count": 2}
    assert [str(error) for error in caught.value.failures.values()] == [
        (
            f"The database of user '{bob.pk}' cannot be used: file is not a database."
            " Look at the file and its permissions, or restore it from a backup."
        ),
        (
            "The database of user '4711' was never made."
            " Make a new one with `manage.py create_user_db --user 4711`."
        ),
    ]


def test_aggregate__database_that_has_moved_or_belongs_to_another() -> None:
    alice, bob, carol = people(3)
    pool.close_idle()
    first = engine().path_of(str(alice.pk)).parent
    first.rename(first.with_name("2"))  # As after it was deleted and made anew.
    mine, his = engine().path_of(str(bob.pk)), engine().path_of(str(carol.pk))
    with closing(sqlite3.connect(mine)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    his.write_bytes(Path(mine).read_bytes())
    for sidecar in his.parent.glob("db.sqlite3-*"):
        sidecar.unlink()
    with pytest.raises(FleetFailed) as caught:
        fleet.aggregate(
            lambda key: Note.objects.all(), keys_of([bob, alice, carol]), count=Count("pk")
        )
    assert caught.value.result == {"count": 2}
    assert str(caught.value.failures[str(carol.pk)]).startswith(
        f"The file in the place of user '{carol.pk}' belongs to '{bob.pk}'."
    )


def test_aggregate__leaves_nothing_open_and_the_cap_as_it_is(
    settings: pytest_django.Settings,
) -> None:
    settings.DSUD_MAX_OPEN = 1
    people(4)
    pool.close_idle()
    assert fleet.aggregate(lambda key: Note.objects.all(), count=Count("pk")) == {"count": 4}
    assert pool.slots <= 1


@pytest.mark.parametrize(
    ("aggregate", "message"),
    [
        (
            Count("text", distinct=True),
            (
                "'total' is to be distinct, and a value that two users have would be counted twice."
                " Take the values with fleet.query() and count them in Python."
            ),
        ),
        (
            StdDev("pk"),
            (
                "'total' is StdDev(F(pk), sample=False), which cannot be put together from the"
                " results of many databases. Count, Sum, Min, Max and Avg can; take rows with"
                " fleet.query() for the rest."
            ),
        ),
        (
            Sum("pk") / Count("pk"),
            (
                "'total' is <CombinedExpression: Sum(F(pk)) / Count(F(pk))>, which cannot be put"
                " together from the results of many databases. Count, Sum, Min, Max and Avg can;"
                " take rows with fleet.query() for the rest."
            ),
        ),
    ],
)
def test_aggregate__that_cannot_be_put_together(aggregate: object, message: str) -> None:
    with pytest.raises(fleet.QueryRefused) as caught:
        fleet.aggregate(lambda key: Note.objects.all(), total=aggregate)
    assert str(caught.value) == message


def test_aggregate__of_nothing() -> None:
    with pytest.raises(fleet.QueryRefused) as caught:
        fleet.aggregate(lambda key: Note.objects.all())
    assert str(caught.value) == "Name what is to be computed, as in `total=Count('pk')`."


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            lambda key: Book.objects.all(),
            (
                "The rows of library.Book are not asked in the user's database, but in 'default'."
                " Ask there, once, without the fleet."
            ),
        ),
        (lambda key: [1, 2], "A queryset is needed to ask all users, and not [1, 2]."),
    ],
)
def test_aggregate__of_what_is_no_users(question: object, message: str) -> None:
    (alice,) = sign_up("alice")
    with pytest.raises(FleetFailed) as caught:
        fleet.aggregate(question, count=Count("pk"))
    error = caught.value.failures[str(alice.pk)]
    assert (type(error), str(error)) == (fleet.QueryRefused, message)


class InTestCase(TestCase):
    """Databases that only this thread can see."""

    def test_aggregate(self) -> None:
        for name in ("alice", "bob"):
            with use_user(User.objects.create(username=name)):
                Note.objects.create(text=f"of {name}")
        found = fleet.aggregate(lambda key: Note.objects.all(), count=Count("pk"), last=Max("text"))
        assert found == {"count": 2, "last": "of bob"}
