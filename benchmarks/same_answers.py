"""What every contender must do before it is measured: show each user their own notes, and write there."""

from __future__ import annotations

import json

from benchmarks.diary import people


def first(*, users: int, notes: int) -> dict[str, list[object]]:
    """Fill the site, write a note of each user's by a request, and return what they are shown."""
    from django.test import Client

    found: dict[str, list[object]] = {"counts": [], "created": [], "statuses": []}
    for session, host in people.fill(users=users, notes=notes):
        client = Client(HTTP_HOST=host)
        client.cookies["sessionid"] = session
        created = client.post("/notes/new/")
        shown = client.get("/notes/")
        found["statuses"].append([created.status_code, shown.status_code])
        found["counts"].append(len(shown.json()["notes"]))
        found["created"].append(json.loads(created.content)["pk"])
    return found
