"""Twenty tables beside those of Django and dsud: entries, and nineteen kinds of things around them."""

from __future__ import annotations

from django.db import models


class Entry(models.Model):
    """What is counted and summed."""

    text = models.CharField(max_length=200)
    amount = models.IntegerField()
    day = models.DateField(db_index=True)

    def __str__(self) -> str:
        return self.text


def _thing(number: int) -> type[models.Model]:
    return type(
        f"Thing{number}",
        (models.Model,),
        {
            "__module__": __name__,
            "entry": models.ForeignKey(Entry, on_delete=models.CASCADE),
            "name": models.CharField(max_length=100),
            "number": models.IntegerField(null=True),
        },
    )


THINGS = [_thing(number) for number in range(22)]
