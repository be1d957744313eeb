"""What belongs to alice is never read, written or counted as bob's."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import importlib
import pickle
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django import forms
from django.contrib.auth.models import User
from django.core import serializers
from django.core.paginator import Paginator
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import (
    Count,
    Exists,
    Manager,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    prefetch_related_objects,
)
from django.template import Context, Template

from dsud import current_user_id, use_user
from dsud.context import Activation, Block
from dsud.exceptions import NoActiveUser, WrongUser
from tests.notes.models import Note, Tag


class Diaries:
    """Two users with a note and a tag each, all four with the primary key 1."""

    def __init__(self, alice: User, bob: User) -> None:
        self.alice, self.bob = alice, bob
        with use_user(alice):
            self.note_a, self.tag_a = self._fill("alice's")
        with use_user(bob):
            self.note_b, self.tag_b = self._fill("bob's")
        assert self.note_a.pk == self.note_b.pk == self.tag_a.pk == self.tag_b.pk == 1

    @staticmethod
    def _fill(whose: str) -> tuple[Note, Tag]:
        note = Note.objects.create(text=f"{whose} note")
        tag = Tag.objects.create(name=f"{whose} tag")
        note.tags.add(tag)
        return note, tag

    def assert_untouched(self) -> None:
        """Assert that neither user's rows have changed."""
        for user, whose in [(self.alice, "alice's"), (self.bob, "bob's")]:
            with use_user(user):
                notes = Note.objects.values_list("pk", "text", "tags__pk", "tags__name")
                assert list(notes) == [(1, f"{whose} note", 1, f"{whose} tag")]
                assert Tag.objects.count() == 1


@pytest.fixture
def diaries(alice: User, bob: User) -> Diaries:
    """Return both users' rows."""
    return Diaries(alice, bob)


class NoteForm(forms.ModelForm):
    """A form that saves what it is given."""

    class Meta:
        model = Note
        fields = ("text",)


def save_by_form(d: Diaries) -> object:
    return NoteForm({"text": "by form"}, instance=d.note_a).save()


def save_by_serializer(d: Diaries) -> object:
    text = serializers.serialize("json", [d.note_b])
    (deserialized,) = serializers.deserialize("json", text)
    deserialized.object = d.note_a
    return deserialized.save()


OBJECTS: dict[str, Callable[[Diaries], object]] = {
    "save": lambda d: d.note_a.save(),
    "save update_fields": lambda d: d.note_a.save(update_fields=["text"]),
    "save force_insert": lambda d: d.note_a.save(force_insert=True),
    "delete": lambda d: d.note_a.delete(),
    "refresh_from_db": lambda d: d.note_a.refresh_from_db(),
    "form": save_by_form,
    "serializer": save_by_serializer,
    "unpickled": lambda d: pickle.loads(pickle.dumps(d.note_a)).save(),
    "copied": lambda d: copy.deepcopy(d.note_a).save(),
    "many to many": lambda d: list(d.note_a.tags.all()),
    "many to many count": lambda d: d.note_a.tags.count(),
    "many to many add": lambda d: d.note_a.tags.add(1),
    "many to many create": lambda d: d.note_a.tags.create(name="new"),
    "many to many clear": lambda d: d.note_a.tags.clear(),
    "forward key": lambda d: link(d).tag,
    "in_bulk": lambda d: d.note_a.tags.in_bulk(),
    "reverse": lambda d: list(d.tag_a.note_set.all()),
    "reverse create": lambda d: d.tag_a.note_set.create(text="new"),
    "add foreign": lambda d: d.note_b.tags.add(d.tag_a),
    "set foreign": lambda d: d.note_b.tags.set([d.tag_a]),
    "remove foreign": lambda d: d.note_b.tags.remove(d.tag_a),
    "reverse remove foreign": lambda d: d.tag_b.note_set.remove(d.note_a),
    "bulk_create": lambda d: Note.objects.bulk_create([d.note_a], ignore_conflicts=True),
    "bulk_update": lambda d: Note.objects.bulk_update([d.note_a], ["text"]),
    "bulk_update mixed": lambda d: Note.objects.bulk_update(iter([d.note_b, d.note_a]), ["text"]),
    "bulk_update keyword": lambda d: Note.objects.bulk_update(objs=[d.note_a], fields=["text"]),
    "prefetch": lambda d: prefetch_related_objects([d.note_a], "tags"),
    "prefetch over several": lambda d: prefetch_related_objects([d.note_b, d.note_a], "tags"),
    "through row": lambda d: Note.tags.through.objects.create(note=d.note_a, tag=d.tag_b),
    "deferred field": lambda d: deferred(d).text,
}


def link(d: Diaries) -> object:
    with use_user(d.alice):
        return Note.tags.through.objects.get()


def deferred(d: Diaries) -> Note:
    with use_user(d.alice):
        return Note.objects.only("pk").get()


@pytest.mark.parametrize("name", OBJECTS)
def test_object__of_alice_while_bob_is_active(diaries: Diaries, name: str) -> None:
    with use_user(diaries.bob), pytest.raises(WrongUser), transaction.atomic():
        OBJECTS[name](diaries)
    diaries.assert_untouched()


@pytest.mark.parametrize("name", OBJECTS)
def test_object__of_alice_while_nobody_is_active_never_reaches_default(
    diaries: Diaries, name: str
) -> None:
    with contextlib.suppress(NoActiveUser, WrongUser):
        OBJECTS[name](diaries)
    diaries.assert_untouched()


def test_object__relations_are_read_in_its_own_database_with_nobody_active(
    diaries: Diaries,
) -> None:
    assert [tag.name for tag in diaries.note_a.tags.all()] == ["alice's tag"]
    assert [note.text for note in diaries.tag_b.note_set.all()] == ["bob's note"]
    diaries.note_a.refresh_from_db()
    prefetch_related_objects([diaries.note_b], "tags")
    assert [tag.name for tag in diaries.note_b.tags.all()] == ["bob's tag"]
    with pytest.raises(NoActiveUser):
        diaries.note_a.save()


def test_object__same_user_is_free(diaries: Diaries) -> None:
    with use_user(diaries.alice):
        diaries.note_a.text = "changed"
        diaries.note_a.save()
        diaries.note_a.tags.set([diaries.tag_a])
        Note.objects.bulk_update([diaries.note_a], ["text"])
        assert Note.objects.get().text == "changed"


def test_wrong_user__says_whose_and_what_to_do(diaries: Diaries) -> None:
    with use_user(diaries.bob), pytest.raises(WrongUser) as caught:
        diaries.note_a.save()
    a, b = str(diaries.alice.pk), str(diaries.bob.pk)
    assert (caught.value.owner, caught.value.active) == (a, b)
    assert str(caught.value) == (
        f"A notes.Note of user {a!r} was used while user {b!r} is active. Load it again inside"
        f" the block of user {b!r}, or use it inside `with use_user({a!r}):`."
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# Querysets


def render(queryset: QuerySet[Note]) -> str:
    return Template("{% for note in notes %}{{ note.text }}{% endfor %}").render(
        Context({"notes": queryset})
    )


async def listed(queryset: QuerySet[Note]) -> list[Note]:
    return [note async for note in queryset]


QUERYSETS: dict[str, Callable[[QuerySet[Note]], object]] = {
    "iteration": list,
    "len": len,
    "bool": bool,
    "slice": lambda qs: list(qs[:1]),
    "index": lambda qs: qs[0],
    "filter": lambda qs: list(qs.filter(pk=1)),
    "iterator": lambda qs: list(qs.iterator()),
    "aggregate": lambda qs: qs.aggregate(Count("pk")),
    "annotate": lambda qs: list(qs.annotate(n=Count("tags"))),
    "exists": lambda qs: qs.exists(),
    "count": lambda qs: qs.count(),
    "get": lambda qs: qs.get(),
    "first": lambda qs: qs.first(),
    "values": lambda qs: list(qs.values("text")),
    "explain": lambda qs: qs.explain(),
    "contains": lambda qs: qs.contains(Note.objects.get()),
    "last": lambda qs: qs.last(),
    "earliest": lambda qs: qs.earliest("pk"),
    "latest": lambda qs: qs.latest("pk"),
    "select_for_update": lambda qs: list(qs.select_for_update()),
    "bulk_update": lambda qs: qs.bulk_update([Note.objects.get()], ["text"]),
    "in_bulk": lambda qs: qs.in_bulk(),
    "update": lambda qs: qs.update(text="changed"),
    "delete": lambda qs: qs.delete(),
    "create": lambda qs: qs.get_or_create(text="alice's note"),
    "update_or_create": lambda qs: qs.update_or_create(pk=1, defaults={"text": "changed"}),
    "union": lambda qs: list(qs.union(Note.objects.all())),
    "union as other": lambda qs: list(Note.objects.union(qs)),
    "union with none": lambda qs: list(Note.objects.none().union(qs)),
    "difference": lambda qs: list(Note.objects.all().difference(qs)),
    "intersection": lambda qs: list(Note.objects.all().intersection(qs)),
    "or": lambda qs: list(qs | Note.objects.all()),
    "or as other": lambda qs: list(Note.objects.all() | qs),
    "and as other": lambda qs: list(Note.objects.all() & qs),
    "xor as other": lambda qs: list(Note.objects.all() ^ qs),
    "in": lambda qs: list(Tag.objects.filter(note__in=qs)),
    "in values": lambda qs: list(Note.objects.filter(text__in=qs.values("text"))),
    "exists subquery": lambda qs: list(Tag.objects.filter(Exists(qs.filter(tags=OuterRef("pk"))))),
    "subquery": lambda qs: list(Tag.objects.annotate(x=Subquery(qs.values("text")[:1]))),
    "update subquery": lambda qs: Tag.objects.update(name=Subquery(qs.values("text")[:1])),
    "prefetch": lambda qs: list(Tag.objects.prefetch_related(Prefetch("note_set", qs))),
    "paginator": lambda qs: Paginator(qs, 1).page(1).object_list[0],
    "template": render,
    "async": async_to_sync(listed),
    "async count": lambda qs: async_to_sync(qs.acount)(),
    "pickled query": lambda qs: list(with_query(pickle.dumps(qs.query))),
    "copied": lambda qs: list(copy.deepcopy(qs)),
    "using": lambda qs: list(qs.using(f"user_{Note.objects.db.removeprefix('user_')}")),
}


#: SQLite takes no order inside of these.
COMBINED = {"union", "union as other", "union with none", "difference", "intersection"}


def with_query(pickled: bytes) -> QuerySet[Note]:
    queryset = Note.objects.all()
    queryset.query = pickle.loads(pickled)
    return queryset


@pytest.mark.parametrize("name", QUERYSETS)
def test_queryset__built_for_alice_and_evaluated_for_bob(diaries: Diaries, name: str) -> None:
    with use_user(diaries.alice):
        queryset = Note.objects.all() if name in COMBINED else Note.objects.order_by("pk")
    with use_user(diaries.bob), pytest.raises(WrongUser), transaction.atomic():
        QUERYSETS[name](queryset)
    diaries.assert_untouched()


READS = sorted(
    set(QUERYSETS) - {"update", "delete", "update_or_create", "update subquery", "using"}
)


@pytest.mark.parametrize("name", READS)
def test_queryset__built_for_alice_and_evaluated_where_she_is_active_again(
    diaries: Diaries, name: str
) -> None:
    with use_user(diaries.alice):
        queryset = Note.objects.all() if name in COMBINED else Note.objects.order_by("pk")
    with use_user(diaries.bob):
        Note.objects.count()
    with use_user(diaries.alice):
        assert "bob" not in str(QUERYSETS[name](queryset))


@pytest.mark.parametrize(
    "name", ["iteration", "len", "bool", "index", "slice", "count", "template"]
)
def test_queryset__evaluated_for_alice_is_not_answered_from_for_bob(
    diaries: Diaries, name: str
) -> None:
    with use_user(diaries.alice):
        queryset = Note.objects.all()
        assert len(queryset) == 1
    with use_user(diaries.bob), pytest.raises(WrongUser), transaction.atomic():
        QUERYSETS[name](queryset)


def test_queryset__pickled_with_its_rows(diaries: Diaries) -> None:
    with use_user(diaries.alice):
        pickled = pickle.dumps(Note.objects.all())
    with use_user(diaries.bob), pytest.raises(WrongUser):
        list(pickle.loads(pickled))
    with use_user(diaries.alice):
        assert [note.text for note in pickle.loads(pickled)] == ["alice's note"]


def test_queryset__raw_is_refused_for_another(diaries: Diaries) -> None:
    with use_user(diaries.alice):
        raw = Note.objects.raw("SELECT * FROM notes_note")
        assert [note.text for note in raw] == ["alice's note"]
        fresh = Note.objects.raw("SELECT * FROM notes_note")
    with use_user(diaries.bob):
        for queryset in (raw, fresh):
            with pytest.raises(WrongUser):
                list(queryset)


CLASS_LEVEL = Note.objects.all()
CLASS_LEVEL_FILTERED = Note.objects.filter(pk=1)


@pytest.mark.parametrize("queryset", [CLASS_LEVEL, CLASS_LEVEL_FILTERED])
def test_queryset__built_with_nobody_active_runs_for_whoever_is(
    diaries: Diaries, queryset: QuerySet[Note]
) -> None:
    for user, text in [(diaries.alice, "alice's note"), (diaries.bob, "bob's note")]:
        with use_user(user):
            assert [note.text for note in queryset.all()] == [text]
            assert queryset.filter(text=text).count() == 1
    with pytest.raises(NoActiveUser):
        list(queryset.all())


def test_queryset__derived_for_alice_from_a_class_level_one_is_hers(diaries: Diaries) -> None:
    with use_user(diaries.alice):
        derived = CLASS_LEVEL.filter(text="alice's note")
    with use_user(diaries.bob), pytest.raises(WrongUser):
        list(derived)


def test_queryset__class_level_rows_are_not_kept_for_the_next_user(diaries: Diaries) -> None:
    class View:
        queryset = Note.objects.all()

    with use_user(diaries.alice):
        assert [note.text for note in View.queryset] == ["alice's note"]
    with use_user(diaries.bob), pytest.raises(WrongUser):
        list(View.queryset)


def test_queryset__none_is_free_for_everyone(diaries: Diaries) -> None:
    assert list(Note.objects.none()) == []
    with use_user(diaries.alice):
        nothing = Note.objects.none()
    with use_user(diaries.bob):
        assert list(nothing) == []


def test_queryset__bare_and_hand_built(diaries: Diaries) -> None:
    with use_user(diaries.alice):
        bare = QuerySet(Note)
    with use_user(diaries.bob), pytest.raises(WrongUser):
        list(bare)


class OwnQuerySet(QuerySet[Note]):
    """A project's own queryset."""

    def newest(self) -> QuerySet[Note]:
        return self.order_by("-pk")


class OwnManager(Manager.from_queryset(OwnQuerySet)):  # type: ignore[misc]
    """A project's own manager, made from its queryset."""


class HandBuiltManager(Manager):
    """A manager that builds its queryset as Django's documentation shows, without hints."""

    def get_queryset(self) -> QuerySet[Note]:
        return QuerySet(self.model, using=self._db)


@pytest.mark.parametrize("manager_class", [OwnManager, HandBuiltManager])
def test_queryset__of_a_projects_own_manager(
    diaries: Diaries, manager_class: type[Manager[Note]]
) -> None:
    manager = manager_class()
    manager.model = Note
    with use_user(diaries.alice):
        queryset = manager.newest() if manager_class is OwnManager else manager.all()
        assert [note.text for note in queryset.all()] == ["alice's note"]
    with use_user(diaries.bob), pytest.raises(WrongUser):
        list(queryset)


def test_queryset__built_while_its_module_is_imported_in_a_request_is_nobodys(
    diaries: Diaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_views.py").write_text(
        "from tests.notes.models import Note\n"
        "class View:\n    queryset = Note.objects.filter(pk=1)\n"
        "def make():\n    return Note.objects.all()\nMADE = make()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with use_user(diaries.alice):
        late_views = importlib.import_module("late_views")
        hers = late_views.make()
    with use_user(diaries.bob):
        for queryset in (late_views.View.queryset, late_views.MADE):
            assert [note.text for note in queryset.all()] == ["bob's note"]
        with pytest.raises(WrongUser):
            list(hers)


# Users as the way to their rows


def test_reverse_key__of_another_user(diaries: Diaries) -> None:
    with use_user(diaries.alice):
        assert diaries.alice.loan_set.count() == 0
        for use in (list, lambda loans: loans.count(), lambda loans: loans.exists()):
            with pytest.raises(WrongUser):
                use(diaries.bob.loan_set.all())


def test_prefetch__rows_of_several_users(diaries: Diaries) -> None:
    users = User.objects.filter(pk__in=[diaries.alice.pk, diaries.bob.pk])
    with use_user(diaries.alice):
        with pytest.raises(WrongUser):
            list(users.prefetch_related("loan_set"))
        (alone,) = users.filter(pk=diaries.alice.pk).prefetch_related("loan_set")
        assert list(alone.loan_set.all()) == []


# Values


VALUES: dict[str, Callable[[Diaries], object]] = {
    "filter": lambda d: list(Note.objects.filter(tags=d.tag_a)),
    "exclude": lambda d: list(Note.objects.exclude(tags=d.tag_a)),
    "Q": lambda d: list(Note.objects.filter(Q(tags=d.tag_a) | Q(pk=7))),
    "in": lambda d: list(Note.objects.filter(tags__in=[d.tag_b, d.tag_a])),
    "get": lambda d: Note.tags.through.objects.get(tag=d.tag_a),
    "update": lambda d: Note.tags.through.objects.update(tag=d.tag_a),
    "count": lambda d: Note.objects.filter(tags=d.tag_a).count(),
    "delete": lambda d: Note.objects.filter(tags=d.tag_a).delete(),
    "subquery": lambda d: list(Tag.objects.filter(note__in=Note.objects.filter(tags=d.tag_a))),
    "assignment": lambda d: Note.tags.through(note=d.note_b, tag=d.tag_a),
    "attribute": lambda d: setattr(Note.tags.through.objects.get(), "tag", d.tag_a),
    "create": lambda d: Note.tags.through.objects.create(note=d.note_b, tag=d.tag_a),
}


@pytest.mark.parametrize("name", VALUES)
def test_value__of_alice_in_a_query_of_bob(diaries: Diaries, name: str) -> None:
    with use_user(diaries.bob), pytest.raises(WrongUser), transaction.atomic():
        VALUES[name](diaries)
    diaries.assert_untouched()


def test_value__own_objects_are_free(diaries: Diaries) -> None:
    with use_user(diaries.bob):
        assert Note.objects.filter(tags=diaries.tag_b).count() == 1
        assert Note.objects.filter(tags__in=[diaries.tag_b]).get() == diaries.note_b


# Connections


def test_cursor__of_alice_while_bob_is_active(diaries: Diaries) -> None:
    connection = connections[f"user_{diaries.alice.pk}"]
    with use_user(diaries.bob):
        for use in (connection.cursor, connection.chunked_cursor):
            with pytest.raises(WrongUser):
                use()
        with pytest.raises(WrongUser):
            list(Note.objects.using(connection.alias))
        with pytest.raises(WrongUser), transaction.atomic(using=connection.alias):
            pass


def test_cursor__operators_may_name_an_alias_with_nobody_active(diaries: Diaries) -> None:
    alias = f"user_{diaries.alice.pk}"
    assert Note.objects.using(alias).get().text == "alice's note"
    with connections[alias].cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM notes_note").fetchone() == (1,)


CURSOR_USES: dict[str, Callable[[CursorWrapper], object]] = {
    "execute": lambda cursor: cursor.execute("DELETE FROM notes_note"),
    "execute with parameters": lambda cursor: cursor.execute(
        "DELETE FROM notes_note WHERE 1=%s", [1]
    ),
    "executemany": lambda cursor: cursor.executemany("DELETE FROM notes_note WHERE 1=%s", [[1]]),
    "executescript": lambda cursor: cursor.executescript("DELETE FROM notes_note"),
    "fetchone": lambda cursor: cursor.fetchone(),
    "fetchmany": lambda cursor: cursor.fetchmany(),
    "fetchmany of a size": lambda cursor: cursor.fetchmany(2),
    "fetchall": lambda cursor: cursor.fetchall(),
    "iteration": list,
}


@pytest.mark.parametrize("name", CURSOR_USES)
def test_cursor__kept_from_alice_while_bob_is_active(diaries: Diaries, name: str) -> None:
    with use_user(diaries.alice):
        cursor = connections[f"user_{diaries.alice.pk}"].cursor()
        cursor.execute("SELECT text FROM notes_note")
        with use_user(diaries.bob), pytest.raises(WrongUser, match="A connection of user"):
            CURSOR_USES[name](cursor)
        with Block(Activation()), pytest.raises(NoActiveUser):
            CURSOR_USES[name](cursor)
        assert cursor.fetchall() == [("alice's note",)]
    diaries.assert_untouched()


def test_cursor__kept_by_an_operator_while_bob_is_active(diaries: Diaries) -> None:
    cursor = connections[f"user_{diaries.alice.pk}"].cursor()
    cursor.execute("SELECT text FROM notes_note")
    with use_user(diaries.bob), pytest.raises(WrongUser):
        cursor.fetchone()
    assert cursor.fetchone() == ("alice's note",)


ITERATORS: dict[str, Callable[[], Iterator[object]]] = {
    "iterator": Note.objects.iterator,
    "iterator of small chunks": lambda: Note.objects.iterator(chunk_size=1),
    "iterator of values": lambda: Note.objects.values_list("text").iterator(),
    "iterator that prefetches": lambda: Note.objects.prefetch_related("tags").iterator(
        chunk_size=9
    ),
    "raw": lambda: Note.objects.raw("SELECT * FROM notes_note").iterator(),
}


@pytest.mark.parametrize("name", ITERATORS)
def test_iterator__half_read_by_alice_while_bob_is_active(diaries: Diaries, name: str) -> None:
    with use_user(diaries.alice):
        Note.objects.create(text="alice's second note")
        for step_in in (use_user(diaries.bob), Block(Activation())):
            rows = ITERATORS[name]()
            next(rows)
            with step_in, pytest.raises((WrongUser, NoActiveUser)):
                next(rows)
        rows = ITERATORS[name]()
        next(rows)
        with use_user(diaries.alice):
            assert len(list(rows)) == 1


def test_aiterator__half_read_by_alice_while_bob_is_active(diaries: Diaries) -> None:
    with use_user(diaries.alice):
        Note.objects.create(text="alice's second note")

    async def read() -> int:
        async with use_user(diaries.alice), aclosing(Note.objects.aiterator()) as rows:
            await anext(rows)
            async with use_user(diaries.bob):
                with pytest.raises(WrongUser, match="An iterator of notes"):
                    await anext(rows)
        async with use_user(diaries.alice):
            return len([note async for note in Note.objects.aiterator()])

    assert async_to_sync(read)() == 2


# Equality


def test_equality__rows_of_two_users_are_two_rows(diaries: Diaries) -> None:
    a, b = diaries.note_a, diaries.note_b
    assert a != b
    assert len({a, b}) == 2
    assert {a: "alice"}.get(b) is None
    assert b not in [a, None]
    with use_user(diaries.alice):
        assert Note.objects.get() == a
        assert hash(Note.objects.get()) == hash(a)
    assert Note(pk=1) == a


# Tasks


def test_gather__two_users_at_once(diaries: Diaries) -> None:
    async def texts(user: User) -> list[str]:
        async with use_user(user):
            await asyncio.sleep(0)
            found = [note.text async for note in Note.objects.all()]
            await asyncio.sleep(0)
            found += await sync_to_async(lambda: [note.text for note in Note.objects.all()])()
        return found

    async def both() -> list[list[str]]:
        return await asyncio.gather(*[texts(diaries.alice), texts(diaries.bob)] * 5)

    assert async_to_sync(both)() == [["alice's note"] * 2, ["bob's note"] * 2] * 5


def test_task_group__threads_inherit_the_user_and_executors_do_not(alice: User, bob: User) -> None:
    async def keys(user: User) -> set[object]:
        async with use_user(user):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.to_thread(current_user_id)) for _ in range(3)]
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, current_user_id) is None
        return {task.result() for task in tasks}

    async def both() -> list[set[object]]:
        return await asyncio.gather(keys(alice), keys(bob))

    assert async_to_sync(both)() == [{alice.pk}, {bob.pk}]
