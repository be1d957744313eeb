"""Objects, querysets and connections of one user used as another, on purpose: each use must be refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import closing

from django.db import connections
from django.db.models import Exists, Q, QuerySet
from django.db.models.sql import Query

from dsud import current_user_id, use_user
from dsud.connections import alias_of
from dsud.exceptions import WrongUser
from stress.diary.models import Entry, Label, Marking
from stress.stage import Handed, Scene


def offer(scene: Scene) -> int:
    """Put something of one's own where others find it, pickled at times."""
    if scene.me.doomed:
        return 0
    entry = Entry.objects.create(text=scene.text())
    rows: QuerySet[Entry] = Entry.objects.order_by("-pk")
    value = scene.rng.choice([entry, entry, rows, rows.query])
    if value is rows and scene.chance(0.3):
        scene.check((row.text for row in rows), how="read")
    packed = pickle.dumps(value) if scene.chance(0.3) else value
    scene.stage.shelf.append(Handed(scene.me, packed))
    return 1


def misuse(scene: Scene) -> int:
    """Use something of somebody else's."""
    handed = _take(scene)
    if handed is None:
        return offer(scene)
    value = handed.value
    try:
        if isinstance(value, bytes):
            value = pickle.loads(value)  # noqa: S301, because this process has pickled it
        if isinstance(value, Query):
            unpickled = Entry.objects.all()
            unpickled.query = value
            value = unpickled
        name = _use(scene, value)
    except WrongUser as error:
        scene.tally.refused(error)
    else:
        # With nobody active, as when the user was deleted, an object's own relations may be read.
        if current_user_id() is not None:
            scene.tally.leaked(f"handed over: {name}")
    return 1


def _take(scene: Scene) -> Handed | None:
    try:
        handed = scene.rng.choice(scene.stage.shelf)
    except IndexError:
        return None
    return None if handed.owner.pk == scene.me.pk else handed


def _use(scene: Scene, value: object) -> str:
    """Use it in one of the ways, and return which when nothing refused it."""
    uses: dict[str, Callable[..., object]] = OBJECTS if isinstance(value, Entry) else QUERYSETS
    name = scene.rng.choice(list(uses))
    uses[name](value)
    return name


def reach(scene: Scene) -> int:
    """Name somebody else's connection, which only an operator with nobody active may."""
    if current_user_id() is None:
        return 0
    alias = alias_of(str(scene.other().pk))
    name = scene.rng.choice(list(CONNECTIONS))
    try:
        CONNECTIONS[name](alias)
    except WrongUser as error:
        scene.tally.refused(error)
    else:
        scene.tally.leaked(f"handed over: {name}")
    return 1


def keep(scene: Scene) -> int:
    """Be somebody else while one's own rows are half-read, and go on reading."""
    with (
        closing(Entry.objects.order_by("-pk").iterator(chunk_size=2)) as rows,
        connections[Entry.objects.db].cursor() as cursor,
    ):
        cursor.execute("SELECT text FROM diary_entry")
        next(rows, None)
        kept = {"iterator": lambda: next(rows, None), "kept cursor": cursor.fetchone}
        name = scene.rng.choice(list(kept))
        with use_user(scene.other().pk):
            try:
                row = kept[name]()
            except WrongUser as error:
                scene.tally.refused(error)
            else:
                if row is not None:
                    scene.tally.leaked(f"handed over: {name}")
    return 3


OBJECTS: dict[str, Callable[[Entry], object]] = {
    "save": lambda entry: entry.save(),
    "save one field": lambda entry: entry.save(update_fields=["text"]),
    "insert": lambda entry: entry.save(force_insert=True),
    "delete": lambda entry: entry.delete(),
    "refresh": lambda entry: entry.refresh_from_db(),
    "relation": lambda entry: list(entry.labels.all()),
    "reverse relation": lambda entry: entry.marking_set.count(),
    "add": lambda entry: entry.labels.add(1, through_defaults={"stamp": entry.text}),
    "foreign key": lambda entry: Marking(entry=entry, label=Label.objects.first()).save(),
    "value": lambda entry: list(Marking.objects.filter(entry=entry)),
    "value in Q": lambda entry: Marking.objects.filter(Q(entry=entry) | Q(pk=1)).count(),
    "value in list": lambda entry: Marking.objects.filter(entry__in=[entry]).exists(),
    "value of update": lambda entry: Marking.objects.filter(pk=0).update(entry=entry),
    "bulk_create": lambda entry: Entry.objects.bulk_create([entry], ignore_conflicts=True),
    "bulk_update": lambda entry: Entry.objects.bulk_update([entry], ["text"]),
}
QUERYSETS: dict[str, Callable[[QuerySet[Entry]], object]] = {
    "iteration": list,
    "len": len,
    "iterator": lambda rows: list(rows.iterator(chunk_size=2)),
    "slice": lambda rows: list(rows[:2]),
    "count": lambda rows: rows.all().count(),
    "exists": lambda rows: rows.all().exists(),
    "first": lambda rows: rows.first(),
    "values": lambda rows: list(rows.values_list("text", flat=True)),
    "filter": lambda rows: list(rows.filter(token="")),
    "update": lambda rows: rows.update(token=""),
    "subquery": lambda rows: list(Marking.objects.filter(entry__in=rows)),
    "exists subquery": lambda rows: list(Label.objects.filter(Exists(rows))),
    "or": lambda rows: list(rows | Entry.objects.order_by("-pk")),
    "or as other": lambda rows: list(Entry.objects.order_by("-pk") | rows),
    "union": lambda rows: list(Entry.objects.all().union(rows.order_by())),
}
CONNECTIONS: dict[str, Callable[[str], object]] = {
    "cursor": lambda alias: connections[alias].cursor().close(),
    "alias": lambda alias: Entry.objects.using(alias).count(),
    "raw alias": lambda alias: list(Entry.objects.using(alias).raw("SELECT * FROM diary_entry")),
}
