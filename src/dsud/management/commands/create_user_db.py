"""Make the databases of users who have none."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser

from dsud import fleet, provisioning
from dsud.context import user_key
from dsud.engines import engine
from dsud.management.fleet_command import USAGE, Done, FleetCommand


class Command(FleetCommand):
    """``create_user_db --user alice`` or ``create_user_db --all``."""

    help = "Makes the databases of the named users, or of all users who have none."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--all``."""
        super().add_arguments(parser)
        parser.add_argument(
            "--all", action="store_true", dest="everybody", help="Every user who has no database."
        )
        parser.add_argument(
            "--lost",
            action="store_true",
            help="Give up a registered database whose file is missing; only with --user.",
        )

    def handle(self, *args: object, **options: object) -> None:
        """Make them and report."""
        if bool(options["users"]) == bool(options["everybody"]):
            raise CommandError("Name users with --user, or give --all.", returncode=USAGE)
        if options["lost"] and options["everybody"]:
            raise CommandError("Name those who lost their data with --user.", returncode=USAGE)
        keys = self.selected(options, among=users_without_database())
        lost = bool(options["lost"])
        outcomes = fleet.for_each(
            lambda key: provision(key, lost=lost), keys, workers=self.workers(options, keys)
        )
        self.report(outcomes, options, Done("made", len(keys), "create_user_db"))


def provision(key: str, *, lost: bool) -> str:
    """Make one user's database."""
    provisioning.provision(key, lost=lost)
    return ""


def users_without_database() -> Iterator[str]:
    """Yield the keys of all users who have no database."""
    for pk in get_user_model()._base_manager.order_by("pk").values_list("pk", flat=True).iterator():
        if not engine().serves(key := user_key(pk)):
            yield key
