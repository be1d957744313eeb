"""What everybody's projects are made of: keys to the user, chains, both ends of many-to-many, generic keys."""

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Word(models.Model):
    """A word that everybody uses, and nobody owns."""

    name = models.CharField(max_length=50, unique=True)


class Label(models.Model):
    """A label of one user's own."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    name = models.CharField(max_length=50)


class Project(models.Model):
    """A project, which may be part of another one."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="projects"
    )
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE)
    name = models.CharField(max_length=100)
    budget = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    # A circle of keys: a project has tasks, one of which comes first.
    first_task = models.ForeignKey(
        "Task", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    marks = GenericRelation("Mark")


class Task(models.Model):
    """Something to do, with every kind of value."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    title = models.CharField(max_length=100)
    done = models.BooleanField(default=False)
    due = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    takes = models.DurationField(null=True)
    code = models.UUIDField(null=True)
    weight = models.FloatField(default=0)
    extra = models.JSONField(default=dict)
    data = models.BinaryField(default=b"")
    labels = models.ManyToManyField(Label)
    words = models.ManyToManyField(Word)

    class Meta:
        ordering = ("title",)


class Urgent(Task):
    """A task with a table of its own beside its parent's."""

    reason = models.CharField(max_length=100)


class Comment(models.Model):
    """What is said about a task."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE)
    text = models.TextField()


class Attachment(models.Model):
    """A file of a task."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE)
    file = models.FileField(upload_to="attachments")


class Mark(models.Model):
    """A mark on anything."""

    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.CharField(max_length=36)
    target = GenericForeignKey("content_type", "object_id")
    note = models.CharField(max_length=50)

    class Meta:
        indexes = (models.Index(fields=["content_type", "object_id"], name="mark_target"),)


class Happening(models.Model):
    """What happened to a task, kept when the task is gone, as packages for history do."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, db_constraint=False
    )
    task = models.ForeignKey(Task, on_delete=models.DO_NOTHING, db_constraint=False, null=True)
    text = models.CharField(max_length=100)


class Invitation(models.Model):
    """A guest of a project, who is another user."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    guest = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)


class Quick(Task):
    """A proxy."""

    class Meta:
        proxy = True
