"""A backend of another package that stores tasks in ``default``, and tasks for its worker."""

from django.contrib.auth import get_user_model
from django.tasks import TaskContext, task
from django_tasks_db import DatabaseBackend

from dsud import current_user_id
from dsud.contrib.tasks import UserTasks
from tests.notes.models import Note


class StoredBackend(UserTasks, DatabaseBackend):
    """The other package's backend, whose tasks run as users."""


@task(backend="stored")
def write(text: str) -> list[object]:
    """Write a note, and say whose notes there are now."""
    Note.objects.create(text=text)
    return [current_user_id(), *Note.objects.values_list("text", flat=True)]


@task(backend="stored")
def count_users() -> int:
    """Use a shared model only."""
    return get_user_model().objects.filter(username__startswith="task-").count()


@task(backend="stored", takes_context=True)
def try_again(context: TaskContext, tries: int) -> int:
    """Fail, but enqueue itself again first, with what it got."""
    result = context.task_result
    if tries > 1:
        result.task.enqueue(*[tries - 1, *result.args[1:]], **result.kwargs)
        raise LookupError(f"{tries} tries left for {current_user_id()}")
    Note.objects.create(text="at last")
    return Note.objects.count()
