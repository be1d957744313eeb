"""A Celery app whose broker is named by the environment, and tasks that say as whom they run."""

import os
import time

import django
from celery import shared_task

from dsud import current_user_id, use_user
from dsud.contrib.celery import Celery

django.setup()

from tests.notes.models import Note  # noqa: E402, because a worker starts here

app = Celery("tests")
app.conf.update(
    broker_url=os.environ.get("DSUD_TEST_BROKER", "memory://"),
    result_backend=os.environ.get("DSUD_TEST_RESULTS", "cache+memory://"),
    broker_transport_options={"polling_interval": 0.05},
    result_chord_retry_interval=0.1,
    worker_hijack_root_logger=False,
)


def here() -> list[object]:
    """Return who is active and what they have."""
    return [current_user_id(), *Note.objects.order_by("pk").values_list("text", flat=True)]


@app.task
def whoever(*args: object) -> int | None:
    """Return who is active, whatever another task has returned."""
    return current_user_id()


@shared_task
def write(text: str) -> list[object]:
    """Write a note."""
    Note.objects.create(text=text)
    return here()


@app.task
def write_more(before: list[object], text: str) -> list[object]:
    """Write a note after another task."""
    Note.objects.create(text=text)
    return [before, here()]


@app.task(bind=True, max_retries=3)
def stubborn(self: object, text: str) -> list[object]:
    """Ask to be tried again three times, as another user at that, and then write a note."""
    Note.objects.create(text=f"try {self.request.retries}")
    if self.request.retries < 3:
        with use_user(999_999):
            raise self.retry(countdown=0)
    Note.objects.create(text=text)
    return here()


@app.task(autoretry_for=[LookupError], default_retry_delay=0, max_retries=2)
def always_failing() -> None:
    """Fail whenever it is tried."""
    Note.objects.create(text="tried")
    raise LookupError(str(current_user_id()))


@app.task(time_limit=1)
def hanging() -> None:
    """Take so long that the worker kills it."""
    time.sleep(30)


@app.task
def after_failure(request: object, error: object, traceback: object) -> None:
    """Note that another task has failed."""
    Note.objects.create(text="it failed")


@app.task
def note_failure(task_id: str) -> list[object]:
    """Note that another task has failed, as a task of its own."""
    return write.run("it failed as well")


@app.task
def send_others(key: str) -> list[str]:
    """Send a task for oneself, one for another user, and one by its name; return their ids."""
    sent = [whoever.delay().id]
    with use_user(key):
        sent.append(whoever.delay().id)
    return [*sent, app.send_task(whoever.name).id]


@app.task(bind=True)
def replaced(self: object, text: str) -> None:
    """Let another task answer."""
    raise self.replace(write.s(text))
