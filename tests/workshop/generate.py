"""Rows for the site: many users, each with rows in every table, all in one database."""

import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.models import Model

from tests.workshop.models import (
    Attachment,
    Comment,
    Happening,
    Label,
    Mark,
    Project,
    Task,
    Urgent,
    Word,
)

#: How many rows of each kind a unit of a user's rows has; 40 rows with all of them.
LABELS, PROJECTS, TASKS, COMMENTS = 2, 1, 5, 10


def generate(users: int, *, units: int, seed: int = 7, alias: str = "default") -> int:
    """Make users, each with as many units of rows, shuffled among each other; return the rows made."""
    chance = random.Random(seed)
    people = User.objects.bulk_create(
        [User(username=f"user{number}", password="!") for number in range(users)]
    )
    words = insert(Word, [Word(name=f"word{number}") for number in range(20)], alias)
    owners = [each for each in people for _ in range(units)]
    chance.shuffle(owners)
    labels = insert(
        Label, [Label(owner=each, name=f"l{n}") for each in owners for n in range(LABELS)], alias
    )
    projects = insert(
        Project,
        [
            Project(
                owner=each, name=f"Project of {each}", budget=Decimal(chance.randrange(9999)) / 7
            )
            for each in owners
        ],
        alias,
    )
    return _below(projects, labels, words, chance, alias)


def insert(model: type[Model], rows: Sequence[Model], alias: str) -> list[Model]:
    """Insert rows and return them with their keys."""
    return model._base_manager.using(alias).bulk_create(rows, batch_size=500)


def _below(projects, labels, words, chance: random.Random, alias: str) -> int:
    tasks = insert(
        Task,
        [
            Task(
                project=each,
                title=f"Task {number}",
                done=chance.random() < 0.5,
                due=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(10**7)),
                day=date(2026, 1, 1) + timedelta(days=chance.randrange(300)),
                takes=timedelta(seconds=chance.randrange(10**5)),
                code=uuid.UUID(int=chance.getrandbits(128), version=4),
                weight=chance.random(),
                extra={"nested": [1, None, "ä"]},
                data=bytes(chance.randrange(256) for _ in range(8)),
            )
            for each in projects
            for number in range(TASKS)
        ],
        alias,
    )
    of_owner: dict[int, list[Label]] = {}
    for label in labels:
        of_owner.setdefault(label.owner_id, []).append(label)
    pairs = [(task.pk, chance.choice(of_owner[task.project.owner_id]).pk) for task in tasks]
    insert(
        Task.labels.through, [Task.labels.through(task_id=t, label_id=w) for t, w in pairs], alias
    )
    chosen = [(task.pk, chance.choice(words).pk) for task in tasks]
    insert(Task.words.through, [Task.words.through(task_id=t, word_id=w) for t, w in chosen], alias)
    comments = [
        Comment(task=each, text="Something is said. " * 3)
        for each in tasks
        for _ in range(COMMENTS // TASKS)
    ]
    insert(Comment, comments, alias)
    some = tasks[::5]
    insert(
        Attachment,
        [Attachment(task=each, file=f"attachments/{each.pk}.txt") for each in some],
        alias,
    )
    kind = ContentType.objects.db_manager(alias).get_for_model(Task)
    insert(
        Mark,
        [Mark(content_type=kind, object_id=str(each.pk), note="seen") for each in tasks],
        alias,
    )
    insert(
        Happening,
        [Happening(user_id=each.project.owner_id, task=each, text="added") for each in tasks],
        alias,
    )
    make_urgent(some, alias)
    circle(projects, tasks, alias)
    return sum(
        map(len, (projects, labels, tasks, pairs, chosen, comments, some, tasks, tasks, some))
    )


def make_urgent(tasks: Iterable[Task], alias: str) -> None:
    """Add the child's row to tasks, as ``bulk_create`` cannot."""
    with connections[alias].cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {Urgent._meta.db_table} (task_ptr_id, reason) VALUES (%s, %s)",
            [(each.pk, "late") for each in tasks],
        )


def circle(projects: Sequence[Project], tasks: Sequence[Task], alias: str) -> None:
    """Have each project point to its first task, and every second one to an earlier one of its owner."""
    last: dict[int, Project] = {}
    for number, project in enumerate(projects):
        project.first_task = tasks[number * TASKS]
        project.parent = last.get(project.owner_id)
        last[project.owner_id] = project
    Project._base_manager.using(alias).bulk_update(
        projects, ["first_task", "parent"], batch_size=200
    )
