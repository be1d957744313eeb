"""Serve the Notes example with a few people in it, on this machine only."""

import io
import os
import signal
import socket
import sys

import django
from django.conf import settings
from django.core.management import call_command
from rich.console import Console
from rich.table import Table

HOST = "127.0.0.1"


class DemoCannotStart(Exception):
    """Raised when something outside the demo has to change first; the message says what."""


def main() -> None:
    console = Console()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # because a shell's "&" ignores it
    try:
        run(console)
    except KeyboardInterrupt:
        sys.exit(0)
    except DemoCannotStart as problem:
        console.print(problem, style="bold red", highlight=False)
        sys.exit(1)


def run(console: Console) -> None:
    port = port_to_use()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notebook.settings")
    django.setup()
    fill_databases(console)
    welcome(console, port)
    call_command("runserver", f"{HOST}:{port}", use_reloader=False, stdout=io.StringIO())


def port_to_use() -> int:
    written = os.environ.get("PORT") or "8000"
    if not (written.isascii() and written.isdigit() and 0 < int(written) < 65536):
        raise DemoCannotStart(f"PORT={written} is not a port. Try: PORT=8001 make demo")
    try:
        socket.create_server((HOST, int(written))).close()
    except OSError as error:
        reason = os.strerror(error.errno)
        raise DemoCannotStart(
            f"Port {written} cannot be used ({reason}). Try another one: PORT=8001 make demo"
        ) from error
    return int(written)


def fill_databases(console: Console) -> None:
    from sample_notes import fill  # here, because models need Django to be set up

    with console.status("Bringing the databases up to date …"):
        call_command("migrate", verbosity=0)
        call_command("migrate_user_dbs", stdout=io.StringIO())
        fill()


def welcome(console: Console, port: int) -> None:
    from sample_notes import SAMPLE_NOTES, SUPERUSER, file_of, password_of

    people = Table("User", "Password", "Notes are in")
    for name in [*SAMPLE_NOTES, SUPERUSER]:
        people.add_row(name, password_of(name), str(file_of(name).relative_to(settings.DATA_DIR)))
    console.print(f"Notes is at [bold]http://{HOST}:{port}/[/] and keeps its files here:")
    console.print(settings.DATA_DIR, soft_wrap=True, highlight=False)
    console.print(people)
    console.print("Log in as two people, in two browsers, and compare.")
    console.print(f"{SUPERUSER} can open anybody's notes in /admin/ with “Switch user”.")
    console.print("Ctrl-C stops.")


if __name__ == "__main__":
    main()
