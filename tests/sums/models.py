"""A user app, without migrations, with whatever can be counted, summed and compared."""

from django.db import models


class Entry(models.Model):
    """A row with a field of each kind, most of them empty now and then."""

    name = models.CharField(max_length=20)
    number = models.IntegerField(null=True)
    price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    weight = models.FloatField(null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    hour = models.TimeField(null=True)
    span = models.DurationField(null=True)
    code = models.UUIDField(null=True)
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True)
