"""What a rollout tells operators: of each database, and at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.core.management.base import CommandError

from dsud import fleet, rollout
from dsud.management.fleet_command import SOME_FAILED, FleetCommand, Tally
from dsud.migrating import Done
from dsud.recording import RecordingFailed


class Telling:
    """What a rollout tells: of each database, and at the end."""

    def __init__(
        self, command: FleetCommand, options: Mapping[str, object], *, shows_steps: bool, run: str
    ) -> None:
        self._command = command
        self._as_json = bool(options["as_json"])
        self._shows_steps = shows_steps or int(str(options["verbosity"])) > 1
        self._done = "rehearsed" if options["rehearse"] != 0 else "migrated"
        self._run = run
        self._tally = Tally()
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
            for outcome in self._tally.counting(outcomes):
                self._snapshots += outcome.result is not None and outcome.result.has_snapshot
                if not self._as_json:
                    self._write_steps(outcome)
                yield _document(outcome)
        except rollout.RolloutStopped as stopped:
            self._stopped = str(stopped)
        except RecordingFailed as error:
            raise CommandError(
                f"{error} No user database was touched.", returncode=SOME_FAILED
            ) from error

    def _write_steps(self, outcome: fleet.Outcome[Done]) -> None:
        if self._shows_steps and outcome.result is not None:
            style = self._command.style.MIGRATE_HEADING
            self._command.stdout.write(style(f"User {outcome.user_key}:"))
            for step in outcome.result.steps or ("Nothing to do",):
                self._command.stdout.write(f"  {step}")

    def _summarize(self, current: int) -> None:
        others = f", {current} were current already" if current else ""
        write = self._command.stdout.write
        write(f"{self._tally.done} of {self._tally.count} user databases {self._done}{others}.")
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
