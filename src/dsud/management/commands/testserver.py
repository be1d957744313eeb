"""``manage.py testserver``: Django's, with user databases that are as temporary as its ``default``."""

from __future__ import annotations

from django.core.management.commands import testserver

from dsud.engines.scratch import scratch


class Command(testserver.Command):
    """Serve fixtures; the user databases of the site are out of reach."""

    def handle(self, *args: str, **options: object) -> None:
        """Replace LOCATION before the first user is loaded."""
        scratch.serves_fixtures = True
        super().handle(*args, **options)
