"""What a user does with their own rows, in blocking code; each deed returns how often it used the ORM."""

from __future__ import annotations

import contextvars
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeAlias

from django.db import DatabaseError, connections
from django.db.models import Count, Exists, OuterRef

from dsud import current_user_id, use_user
from dsud.exceptions import DSUDError, NoActiveUser
from stress import blocks, handovers
from stress.diary.models import Entry, Label, Marking
from stress.stage import Scene
from stress.tally import Boom

Deed: TypeAlias = Callable[[Scene], int]

#: Of how many words a user makes labels.
WORDS = 20


def write(scene: Scene) -> int:
    """Write one row of each kind."""
    entry = Entry.objects.create(text=scene.text())
    name = f"{scene.me.stamp} {scene.rng.randrange(WORDS)}"
    label, _ = Label.objects.get_or_create(name=name)
    Marking.objects.create(entry=entry, label=label, stamp=scene.me.stamp)
    return 3


def read(scene: Scene) -> int:
    """Read in the plain ways, and ask the database for foreign rows."""
    scene.check((entry.text for entry in Entry.objects.order_by("-pk")[:10]), how="read")
    scene.check(Label.objects.values_list("name", flat=True), how="read")
    scene.check(Marking.objects.values_list("stamp", flat=True)[:10], how="read")
    mine = f"{scene.me.stamp} "
    if foreign := Entry.objects.exclude(text__startswith=mine).count():
        scene.tally.leaked("read", foreign)
    return 4


def relate(scene: Scene) -> int:
    """Follow relations in both directions."""
    entries = list(Entry.objects.prefetch_related("labels").order_by("-pk")[:3])
    scene.check((label.name for entry in entries for label in entry.labels.all()), how="relation")
    marking = Marking.objects.select_related("entry").order_by("-pk").first()
    if marking is None:
        return 2
    scene.check([marking.entry.text, marking.label.name], how="relation")
    scene.check((entry.text for entry in marking.label.entry_set.all()[:5]), how="relation")
    return 5


def change(scene: Scene) -> int:
    """Change and remove rows that nobody else knows, one by one and in bulk."""
    entry = Entry.objects.create(text=scene.text())
    entry.text = scene.text()
    entry.save()
    Entry.objects.filter(pk=entry.pk).update(text=scene.text())
    entry.refresh_from_db()
    scene.check([entry.text], how="change")
    many = Entry.objects.bulk_create([Entry(text=scene.text()) for _ in range(2)])
    for each in many:
        each.text = scene.text()
    Entry.objects.bulk_update(many, ["text"])
    entry.delete()
    return 7


def query(scene: Scene) -> int:
    """Combine querysets."""
    labels = Label.objects.filter(name__contains=" 1")
    marked = Exists(Marking.objects.filter(entry=OuterRef("pk")))
    for entries in (
        Entry.objects.filter(labels__in=labels)[:5],
        Entry.objects.filter(marked).annotate(n=Count("labels"))[:5],
        Entry.objects.filter(pk__lt=5).union(Entry.objects.filter(pk__gt=50)),
        Entry.objects.filter(token="") | Entry.objects.filter(labels__in=labels),
    ):
        scene.check((entry.text for entry in entries[:5]), how="query")
    return 4


def raw(scene: Scene) -> int:
    """Ask without the ORM's queries."""
    entries = Entry.objects.raw("SELECT * FROM diary_entry ORDER BY id DESC LIMIT 5")
    scene.check((entry.text for entry in entries), how="raw")
    with connections[Entry.objects.db].cursor() as cursor:
        cursor.execute("SELECT text FROM diary_entry ORDER BY id LIMIT 5")
        scene.check((text for (text,) in cursor.fetchall()), how="raw")
    return 2


def iterate(scene: Scene) -> int:
    """Be somebody else in the middle of an iteration, and leave it before its end."""
    # Closed at once, because SQLite refuses to write on the snapshot that half-read rows keep.
    with closing(Entry.objects.order_by("-pk").iterator(chunk_size=2)) as rows:
        scene.check((entry.text for entry in islice(rows, 3)), how="iteration")
        done = visit(scene)
        scene.check((entry.text for entry in islice(rows, 3)), how="iteration")
    return done + 1


def visit(scene: Scene) -> int:
    """Be somebody else for a while, who may fail."""
    other = scene.other()
    done = 0
    with scene.forgiving(), use_user(other.pk):
        done = scene.rng.choice(PLAIN)(scene.as_person(other))
        if scene.chance(0.2):
            raise Boom
    if not is_me(active := current_user_id(), scene):
        scene.tally.leaked("context", detail=f"{active} is active, not {scene.me}")
    return done


def elsewhere(scene: Scene) -> int:
    """Go on in a thread that is given the context."""
    done: list[int] = []
    context = contextvars.copy_context()
    deed = scene.rng.choice(PLAIN)
    thread = threading.Thread(target=lambda: done.append(context.run(attempt, deed, scene)))
    thread.start()
    thread.join()
    return sum(done)


def executed(scene: Scene) -> int:
    """Have two threads of an executor be two users."""
    people = [scene.me, scene.other()]

    def block(number: int) -> int:
        with use_user(people[number].pk):
            return attempt(scene.rng.choice(PLAIN), scene.as_person(people[number]))

    with ThreadPoolExecutor(2) as executor:
        return sum(executor.map(block, range(2)))


def attempt(deed: Deed, scene: Scene) -> int:
    """Do something in a thread whose errors nobody would see."""
    try:
        return deed(scene)
    except Exception as error:  # noqa: BLE001, because every error is counted
        scene.tally.failed(error, expected=is_expected(error, scene))
        return 0


def nobody(scene: Scene) -> int:
    """Reach for rows where nobody is active."""
    try:
        contextvars.Context().run(Entry.objects.count)
    except NoActiveUser as error:
        scene.tally.refused(error)
    else:
        scene.tally.leaked("nobody active")
    return 1


def fail(scene: Scene) -> int:
    """Fail halfway."""
    Entry.objects.create(text=scene.text())
    raise Boom


PLAIN: list[Deed] = [write, read, relate, change, query, raw]
DEEDS: dict[Deed, int] = {
    write: 20,
    read: 20,
    relate: 10,
    change: 10,
    query: 6,
    raw: 4,
    iterate: 6,
    visit: 6,
    elsewhere: 2,
    executed: 1,
    nobody: 2,
    fail: 1,
    blocks.succeed: 3,
    blocks.fail: 3,
    blocks.fail_inside: 3,
    handovers.offer: 4,
    handovers.misuse: 10,
    handovers.reach: 2,
    handovers.keep: 2,
}


#: What may be done between two rows of an iteration: SQLite refuses to write on an old snapshot.
READING: list[Deed] = [
    read,
    relate,
    query,
    raw,
    iterate,
    visit,
    nobody,
    handovers.reach,
    handovers.keep,
]


def perform(scene: Scene, number: int) -> None:
    """Do a number of things by chance; an error ends it."""
    for deed in scene.rng.choices(list(DEEDS), list(DEEDS.values()), k=number):
        scene.tally.did(deed(scene))


def is_me(active: object, scene: Scene) -> bool:
    """Tell whether the right user is active; in a request of a deleted one nobody is."""
    return active == scene.me.pk or (active is None and scene.me.doomed)


def is_expected(error: BaseException, scene: Scene) -> bool:
    """Tell whether an error is part of the play: on purpose, or because the user is deleted."""
    if isinstance(error, Boom):
        return True
    return scene.me.doomed and isinstance(error, (DSUDError, DatabaseError))


def pick(rng: random.Random, weights: dict[str, int]) -> str:
    """Pick a name by its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]
