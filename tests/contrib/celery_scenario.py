"""Send tasks of several users to a worker, and print as JSON what became of them."""

import json
import sys
from contextlib import ExitStack
from uuid import uuid4

from celery import chain, chord, group
from celery.contrib.testing.worker import start_worker
from celery.result import AsyncResult

from dsud import use_user
from tests.contrib.celery_site import (
    after_failure,
    always_failing,
    app,
    hanging,
    here,
    note_failure,
    replaced,
    send_others,
    stubborn,
    whoever,
    write,
    write_more,
)

#: Seconds until a task must be done.
PATIENCE = 30


def main(broker: str) -> None:
    """Run the scenario; with the memory broker, with a worker in a thread of this process."""
    from django.contrib.auth.models import User

    # Other names each time, because whoever shares out the tests may come back to a broker.
    run = uuid4().hex
    people = [User.objects.create_user(f"{name}-{run}") for name in ("alice", "bob", "eve")]
    seen: dict[str, object] = {"keys": [str(user.pk) for user in people]}
    with ExitStack() as stack:
        if broker == "memory":
            stack.enter_context(start_worker(app, pool="solo", perform_ping_check=False))
        seen |= send_all(*people)
        if broker == "redis":
            seen |= be_killed(people[0])
    json.dump(seen, sys.stdout)


def send_all(alice: object, bob: object, eve: object) -> dict[str, object]:
    """Send every kind of task, one after the other, and collect what they return."""
    seen: dict[str, object] = {}
    with use_user(alice):
        seen["task"] = returned(write.delay("one"))
        seen["retries"] = returned(stubborn.delay("done"))
        seen["chain"] = returned(chain(write.s("first"), write_more.s("second")).delay())
        seen["group"] = returned(group(whoever.s(number) for number in range(3)).delay())
        seen["chord"] = returned(chord([whoever.s(1), whoever.s(2)])(write_more.s("body")))
        seen["link"] = returned(write.apply_async(["linking"], link=write_more.s("linked")))
        seen["by name"] = returned(app.send_task(write.name, ["by name"]))
        failing = always_failing.apply_async(link_error=[after_failure.s(), note_failure.s()])
        seen["failure"] = returned(failing)
        seen["replaced"] = returned(replaced.delay("replacement"))
        others = returned(send_others.delay(str(bob.pk)))
    seen["others"] = [returned(app.AsyncResult(task_id)) for task_id in others]
    with use_user(bob):
        seen["other user"] = returned(write.delay("his"))
        header = {"dsud_user_key": str(alice.pk)}
        seen["named"] = returned(whoever.apply_async(headers=header))
    seen["nobody"] = returned(write.delay("whose"))
    seen["nobody, shared"] = returned(whoever.delay())
    with use_user(eve):
        too_late = write.signature(["too late"], countdown=1).delay()
    eve.delete()
    seen["deleted"] = returned(too_late)
    with use_user(alice):
        seen["afterwards"] = here()
    return seen


def be_killed(user: object) -> dict[str, object]:
    """Let the worker kill a task, which then calls back from outside of any task."""
    with use_user(user):
        killed = hanging.apply_async(link_error=note_failure.s().set(task_id="after-death"))
    return {"killed": returned(killed), "after death": returned(app.AsyncResult("after-death"))}


def returned(result: AsyncResult) -> object:
    """Wait for a task and return its result, or its error with class and attributes."""
    try:
        return result.get(timeout=PATIENCE, interval=0.05)
    except Exception as error:  # noqa: BLE001, because every task's end is compared
        return [type(error).__name__, *error.args]


if __name__ == "__main__":
    main(*sys.argv[1:])
