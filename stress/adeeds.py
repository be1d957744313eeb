"""What a user does with their own rows, in asynchronous code; each deed returns how often it used the ORM."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from asgiref.sync import async_to_sync, sync_to_async
from django.db.models import QuerySet

from dsud import current_user_id, use_user
from dsud.exceptions import WrongUser
from stress import deeds
from stress.deeds import WORDS
from stress.diary.models import Entry, Label, Marking
from stress.stage import Handed, Scene
from stress.tally import Boom

AsyncDeed: TypeAlias = Callable[[Scene], Awaitable[int]]


async def write(scene: Scene) -> int:
    """Write one row of each kind."""
    entry = await Entry.objects.acreate(text=scene.text())
    name = f"{scene.me.stamp} {scene.rng.randrange(WORDS)}"
    label, _ = await Label.objects.aget_or_create(name=name)
    await Marking.objects.acreate(entry=entry, label=label, stamp=scene.me.stamp)
    return 3


async def read(scene: Scene) -> int:
    """Read in the plain ways."""
    texts = [entry.text async for entry in Entry.objects.order_by("-pk")[:10]]
    names = [name async for name in Label.objects.values_list("name", flat=True)]
    scene.check(texts + names, how="read")
    mine = f"{scene.me.stamp} "
    if foreign := await Entry.objects.exclude(text__startswith=mine).acount():
        scene.tally.leaked("read", foreign)
    return 3


async def relate(scene: Scene) -> int:
    """Follow relations."""
    entry = await Entry.objects.prefetch_related("labels").order_by("-pk").afirst()
    if entry is None:
        return 1
    scene.check([label.name async for label in entry.labels.all()], how="relation")
    scene.check([label.name async for label in entry.labels.order_by("pk")], how="relation")
    return 3


async def change(scene: Scene) -> int:
    """Change and remove a row that nobody else knows."""
    entry = await Entry.objects.acreate(text=scene.text())
    entry.text = scene.text()
    await entry.asave()
    await asyncio.sleep(0)
    await entry.arefresh_from_db()
    scene.check([entry.text], how="change")
    await entry.adelete()
    return 4


async def visit(scene: Scene) -> int:
    """Be somebody else for a while, who may fail."""
    other = scene.other()
    done = 0
    with scene.forgiving():
        async with use_user(other.pk):
            await asyncio.sleep(0)
            done = await scene.rng.choice(PLAIN)(scene.as_person(other))
            if scene.chance(0.2):
                raise Boom
    if not deeds.is_me(active := await sync_to_async(current_user_id)(), scene):
        scene.tally.leaked("context", detail=f"{active} is active, not {scene.me}")
    return done


async def gather(scene: Scene) -> int:
    """Be three users at once, in tasks beside each other."""

    async def block(inner: Scene) -> int:
        async with use_user(inner.me.pk):
            return await scene.rng.choice(PLAIN)(inner)

    scenes = [scene.as_person(scene.other()) for _ in range(2)]
    own = scene.rng.choice(PLAIN)(scene)
    return sum(await asyncio.gather(own, *map(block, scenes)))


async def group(scene: Scene) -> int:
    """Have a task group go on as the same user."""
    async with asyncio.TaskGroup() as tasks:
        own = [tasks.create_task(_quietly(scene)) for _ in range(2)]
    return sum(task.result() for task in own)


async def _quietly(scene: Scene) -> int:
    try:
        return await scene.rng.choice(PLAIN)(scene)
    except Exception as error:  # noqa: BLE001, because every error is counted
        scene.tally.failed(error, expected=deeds.is_expected(error, scene))
        return 0


async def give_up(scene: Scene) -> int:
    """Be cancelled by a time limit somewhere in the middle, also inside of blocking code."""
    try:
        async with asyncio.timeout(scene.rng.random() / 200):
            return await scene.rng.choice([*PLAIN, blocking, visit])(scene)
    except TimeoutError as error:
        scene.tally.refused(error)
    return await read(scene)


async def blocking(scene: Scene) -> int:
    """Do something in blocking code."""
    deed = scene.rng.choices(list(deeds.DEEDS), list(deeds.DEEDS.values()))[0]
    return await sync_to_async(deed)(scene)


async def there_and_back(scene: Scene) -> int:
    """Do something asynchronous in blocking code in asynchronous code."""
    both_ways = sync_to_async(async_to_sync(scene.rng.choice(PLAIN)))
    # In a task of its own, because asgiref leaves traces of its executors in the context.
    return await asyncio.create_task(both_ways(scene))


async def misuse(scene: Scene) -> int:
    """Use something of somebody else's."""
    handed = [item for item in list(scene.stage.shelf)[-20:] if _is_foreign(item, scene)]
    if not handed:
        return await write(scene)
    value = scene.rng.choice(handed).value
    uses = OBJECTS if isinstance(value, Entry) else QUERYSETS
    name = scene.rng.choice(list(uses))
    try:
        await uses[name](value)  # type: ignore[operator]
    except WrongUser as error:
        scene.tally.refused(error)
    else:
        if await sync_to_async(current_user_id)() is not None:
            scene.tally.leaked(f"handed over: {name}")
    return 1


def _is_foreign(item: Handed, scene: Scene) -> bool:
    usable = isinstance(item.value, (Entry, QuerySet))
    return usable and item.owner.pk != scene.me.pk


async def _each(rows: object) -> list[object]:
    return [row async for row in rows]  # type: ignore[attr-defined]


OBJECTS = {
    "asave": lambda entry: entry.asave(),
    "adelete": lambda entry: entry.adelete(),
    "arefresh": lambda entry: entry.arefresh_from_db(),
    "async relation": lambda entry: _each(entry.labels.all()),
}
QUERYSETS = {
    "async iteration": _each,
    "acount": lambda rows: rows.all().acount(),
    "aexists": lambda rows: rows.all().aexists(),
    "afirst": lambda rows: rows.afirst(),
    "aiterator": lambda rows: _each(rows.aiterator(chunk_size=2)),
    "aupdate": lambda rows: rows.aupdate(token=""),
}
PLAIN: list[AsyncDeed] = [write, read, relate, change]
READING: list[AsyncDeed] = [read, relate, visit]
DEEDS: dict[AsyncDeed, int] = {
    write: 20,
    read: 20,
    relate: 10,
    change: 10,
    visit: 8,
    gather: 4,
    group: 4,
    give_up: 4,
    blocking: 20,
    there_and_back: 2,
    misuse: 6,
}


async def perform(scene: Scene, number: int) -> None:
    """Do a number of things by chance; an error ends it."""
    for deed in scene.rng.choices(list(DEEDS), list(DEEDS.values()), k=number):
        scene.tally.did(await deed(scene))
