"""What the site answers to each user: the same before and after their rows are moved."""

import json

from django.contrib.auth.models import User
from django.db.models import Count, Max

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


def portrait(user: User) -> dict[str, object]:
    """Return what queries of an application find that was written for one database."""
    projects = Project.objects.filter(owner=user)
    tasks = Task.objects.filter(project__owner=user)
    rows = {
        "projects": projects,
        "tasks": tasks,
        "urgent": Urgent.objects.filter(project__owner=user),
        "comments": Comment.objects.filter(task__project__owner=user),
        "attachments": Attachment.objects.filter(task__project__owner=user),
        "labels": Label.objects.filter(owner=user),
        "happenings": Happening.objects.filter(user=user),
        "words": Word.objects.filter(task__project__owner=user).distinct(),
        "marks": Mark.objects.filter(object_id__in=[str(each.pk) for each in tasks]),
    }
    answers: dict[str, object] = {
        name: list(found.order_by("pk").values()) for name, found in rows.items()
    }
    answers["labels of tasks"] = list(
        tasks.filter(labels__isnull=False)
        .order_by("pk", "labels")
        .values_list("pk", "labels__name")
    )
    answers["words of tasks"] = list(
        tasks.filter(words__isnull=False).order_by("pk", "words").values_list("pk", "words__name")
    )
    answers["first tasks"] = list(
        projects.order_by("pk").values_list("first_task__title", "parent__name")
    )
    answers["sums"] = projects.aggregate(Max("task__title"), Count("task"))
    titles = dict(tasks.values_list("pk", "title"))
    answers["marked"] = [titles[int(each.object_id)] for each in rows["marks"].order_by("pk")]
    return answers


def as_text(answers: object) -> str:
    """Return answers as text that can be compared between processes."""
    return json.dumps(answers, default=spelt, sort_keys=True)


def spelt(value: object) -> str:
    """Return a value as text, however a database's driver wraps bytes."""
    return repr(bytes(value) if isinstance(value, memoryview) else value)


def unfiltered() -> dict[str, int]:
    """Return how many rows there are in each table, whoever they belong to."""
    models = (Project, Task, Urgent, Comment, Attachment, Label, Happening, Word, Mark)
    return {model.__name__: model.objects.count() for model in models}


def shape(user: User) -> dict[str, object]:
    """Return what a user's rows say without their keys, which a merge may change."""
    tasks = Task.objects.filter(project__owner=user)
    titles = {each.pk: each.title for each in tasks}
    marked = Mark.objects.filter(object_id__in=[str(pk) for pk in titles])
    return {
        "projects": ordered(
            Project.objects.filter(owner=user),
            "name",
            "budget",
            "parent__name",
            "first_task__title",
        ),
        "tasks": ordered(tasks, "project__name", "title", "code", "data", "due", "extra", "takes"),
        "labels": ordered(tasks, "title", "labels__name", "labels__owner"),
        "words": ordered(tasks, "title", "words__name"),
        "urgent": ordered(Urgent.objects.filter(project__owner=user), "title", "reason"),
        "comments": ordered(
            Comment.objects.filter(task__project__owner=user), "task__title", "text"
        ),
        "marks": sorted(titles[int(each.object_id)] + each.note for each in marked),
        "happenings": ordered(Happening.objects.filter(user=user), "task__title", "text"),
    }


def ordered(rows, *names: str) -> list[str]:
    """Return rows as text in an order that does not depend on keys."""
    return sorted(repr([spelt(value) for value in row]) for row in rows.values_list(*names))
