"""Atomic blocks that succeed and fail: ``default`` and the user's database must agree."""

from __future__ import annotations

from django.db import transaction

from dsud import use_user
from stress.diary.models import Entry, Receipt
from stress.stage import Scene
from stress.tally import Boom


def succeed(scene: Scene) -> int:
    """Write both sides, of two users at times."""
    token, other = scene.token(), scene.other()
    both = scene.chance(0.3)
    with transaction.atomic():
        _write(scene, token)
        if both:
            with use_user(other.pk):
                _write(scene.as_person(other), f"{token}-other")
    _compare(scene, token, there=True)
    return 4 + 2 * both


def fail(scene: Scene) -> int:
    """Write both sides and fail."""
    token = scene.token()
    with scene.forgiving(), transaction.atomic():
        _write(scene, token)
        raise Boom
    _compare(scene, token, there=False)
    return 4


def fail_inside(scene: Scene) -> int:
    """Write both sides, and fail in a block inside, at a depth by chance."""
    outer, inner = scene.token(), f"{scene.token()}-inner"
    with transaction.atomic():
        _write(scene, outer)
        with scene.forgiving(), transaction.atomic():
            _write(scene, inner)
            if scene.chance(0.5):
                with transaction.atomic():
                    _write(scene, f"{inner}-most")
            raise Boom
    _compare(scene, outer, there=True)
    _compare(scene, inner, there=False)
    _compare(scene, f"{inner}-most", there=False)
    return 8


def _write(scene: Scene, token: str) -> None:
    Receipt.objects.create(token=token, stamp=scene.me.stamp)
    Entry.objects.create(token=token, text=scene.text())


def _compare(scene: Scene, token: str, *, there: bool) -> None:
    found = {model.objects.filter(token=token).exists() for model in (Receipt, Entry)}
    if found != {there}:
        scene.tally.wrong("Disagreement")
