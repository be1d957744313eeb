"""The registry: one row in ``default`` for each user database, for operators only."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class UserDatabase(models.Model):
    """A user database as operators see it; no query of a user ever reads this table."""

    class State(models.TextChoices):
        """Where a user database is in its life."""

        PENDING = "pending", _("to be made")
        READY = "ready", _("ready")
        DELETED = "deleted", _("in the trash")

    user_key = models.CharField(_("user key"), max_length=255, unique=True)
    state = models.CharField(
        _("state"), max_length=16, choices=State.choices, default=State.PENDING, db_index=True
    )
    schema = models.CharField(_("schema fingerprint"), max_length=64, blank=True)
    last_error = models.TextField(_("last error"), blank=True)
    created = models.DateTimeField(_("created"), auto_now_add=True)
    migrated = models.DateTimeField(_("migrated"), null=True, blank=True)

    class Meta:
        """How Django names the registry."""

        verbose_name = _("user database")
        verbose_name_plural = _("user databases")
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.user_key
