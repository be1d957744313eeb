"""What a rollout tells operators: of each database, and at the end."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.management.base import CommandError

from dsud import fleet, rollout
from dsud.management.fleet_command import SOME_FAILED, FleetCommand, Tally
from dsud.management.fleet_command import Done as Work
from dsud.migrating import Done
from dsud.recording import RecordingFailed


class Telling:
    """What a rollout tells: of each database, and at the end."""

    def __init__(
        self, command: FleetCommand, options: dict[str, object], done: Work, *, run: str
    ) -> None:
        self._command = command
        self._done = done
        self._as_json = bool(options["as_json"])
        self._shows_steps = bool(done.arguments) or int(str(options["verbosity"])) > 1
        self._run = run
        self._tally = Tally()
        self._progress = command.progress_of(options, done)
        self._snapshots = 0
        self._stopped = ""

    def tell(self, outcomes: Iterator[fleet.Outcome[Done]], *, current: int) -> None:
        """Tell what came of each; exit with 1, naming each failure, when there was one."""
        documents = self._documents(outcomes)
        if self._as_json:
            self._command.stream_json(documents)
        else:
            for _ in documents:
                pass
            self._summarize(current)
        try:
            self._tally.raise_failures()
        except CommandError as error:
            message = str(error)
            if self._stopped:
                message = message.replace("all others", "the others of these")
                message = f"{self._stopped}\n{message}"
            raise CommandError(message, returncode=SOME_FAILED) from error

    def _documents(self, outcomes: Iterator[fleet.Outcome[Done]]) -> Iterator[dict[str, object]]:
        try:
            kept = fleet.recorded(
                outcomes, command=self._done.command, arguments=self._done.arguments
            )
            for outcome in self._tally.counting(self._progress.following(kept)):
                self._snapshots += outcome.result is not None and outcome.result.has_snapshot
                if not self._as_json and self._shows_steps and outcome.result is not None:
                    with self._progress.aside():
                        self._write_steps(outcome.user_key, outcome.result)
                yield _document(outcome)
        except rollout.RolloutStopped as stopped:
            self._stopped = str(stopped)
        except RecordingFailed as error:
            raise CommandError(
                f"{error} No user database was touched.", returncode=SOME_FAILED
            ) from error

    def _write_steps(self, key: str, done: Done) -> None:
        self._command.stdout.write(self._command.style.MIGRATE_HEADING(f"User {key}:"))
        for step in done.steps or ("Nothing to do",):
            self._command.stdout.write(f"  {step}")

    def _summarize(self, current: int) -> None:
        others = f", {current} were current already" if current else ""
        write = self._command.stdout.write
        write(
            f"{self._tally.done} of {self._tally.count} user databases {self._done.verb}{others}."
        )
        if self._snapshots:
            write(
                f"{self._snapshots} have a snapshot of before;"
                f" `manage.py migrate_user_dbs --undo {self._run}` brings them back."
            )


def _document(outcome: fleet.Outcome[Done]) -> dict[str, object]:
    done = outcome.result
    return {
        "user": outcome.user_key,
        "ok": outcome.error is None,
        "steps": [] if done is None else list(done.steps),
        "how": "" if done is None else done.how,
        "current": done is not None and done.is_current,
        "error": None if outcome.error is None else str(outcome.error),
        "seconds": round(outcome.seconds, 4),
    }
