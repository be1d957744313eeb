"""What Django does to reach a target, recorded once on a schema clone of a database in that state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal, TypeAlias

from django.apps import apps
from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor

from dsud import schema
from dsud.connections import temporary
from dsud.context import Block, TemporaryActivation
from dsud.engines.replaying import Replayer
from dsud.exceptions import DSUDError
from dsud.plans import Check, Part, Plan, Stage, Statement, Step
from dsud.router import TEMPLATE_ALIAS
from dsud.tape import LedgerThatRecords, Tape, editor_that_records, record_each

#: Under which schema clones are reached.
ALIAS = f"{TEMPLATE_ALIAS}_recording"

#: What a plan leads to: an app and a migration, or None for zero.
Target: TypeAlias = tuple[str, str | None]

#: Returns the targets, for the ledger and the graph that the executor has read.
Targets: TypeAlias = Callable[[MigrationExecutor], Sequence[Target]]


class RecordingFailed(DSUDError):
    """Raised when a migration fails on an empty copy already; no database in that state was touched."""

    def __init__(self, migration: str, reason: str) -> None:
        self.migration = migration
        self.reason = reason
        super().__init__(migration, reason)

    def __str__(self) -> str:
        return (
            f"{self.migration} fails on an empty copy of the database: {self.reason}."
            " Mend it and run the migration again; no database in this state was touched."
        )


class AheadOfCode(DSUDError):
    """Raised for a database that newer code has migrated already; it was not touched."""

    def __init__(self, migrations: Sequence[str]) -> None:
        self.migrations = list(migrations)
        super().__init__(self.migrations)

    def __str__(self) -> str:
        return (
            f"Newer code has applied {', '.join(self.migrations)}, which this code does not know."
            " Deploy that code, or have it migrate back first; the database was not touched."
        )


class CannotRecord(DSUDError):
    """Raised when a plan fails on the clone because, perhaps, code of the project did not run there."""


#: What is only noted as applied: nothing, everything, or first migrations whose tables are there.
Faked: TypeAlias = Literal["nothing", "all", "initial"]


def record(
    source: BaseDatabaseWrapper,
    replayer: Replayer,
    targets: Targets,
    *,
    faked: Faked = "nothing",
) -> Plan:
    """Return what takes every database in the state of this one to the targets, rehearsed once.

    Raises ``RecordingFailed``, ``AheadOfCode``, or ``CannotRecord`` when only Django itself can tell.
    """
    before = replayer.state(source)
    with clone_of(source, replayer) as clone:
        tape = Tape(replayer, clone.alias)
        try:
            _run(clone, tape, targets, faked=faked)
        except AheadOfCode:
            raise
        except Exception as error:
            if not tape.is_certain:
                raise CannotRecord(str(error)) from error
            raise RecordingFailed(str(tape.part), f"{type(error).__name__}: {error}") from error
        plan = Plan(
            before,
            replayer.state(clone),
            tuple(_finished(tape)),
            separate=tape.separate,
            is_reversible=tape.is_reversible,
            is_complete=schema.is_current(clone.alias),
        )
    rehearse(plan, source, replayer)
    return plan


@contextmanager
def clone_of(source: BaseDatabaseWrapper, replayer: Replayer) -> Iterator[BaseDatabaseWrapper]:
    """Reach an empty database with the schema and the ledger of another."""
    with (
        temporary(ALIAS, replayer.blank()) as clone,
        Block(TemporaryActivation(ALIAS), releases=False),
    ):
        replayer.copy_schema(source, clone)
        yield clone


def _run(clone: BaseDatabaseWrapper, tape: Tape, targets: Targets, *, faked: Faked) -> None:
    """Let Django's own executor work on the clone."""
    _ = clone.features.supports_json_field  # Finds out by a statement, once.
    executor = MigrationExecutor(clone, tape.follow)
    if ahead := unknown_migrations(executor):
        raise AheadOfCode(ahead)
    executor.loader.check_consistent_history(clone)
    wanted = targets(executor)
    plan = executor.migration_plan(wanted)
    _rename_content_types(plan, clone, executor)
    for migration, _backwards in plan:
        vars(migration)["operations"] = record_each(migration.operations, tape)
    executor.recorder = LedgerThatRecords(clone, tape)
    clone.SchemaEditorClass = editor_that_records(clone.SchemaEditorClass, tape)
    check_constraints = clone.check_constraints

    def check_and_record(table_names: Iterable[str] | None = None) -> None:
        tape.check()
        check_constraints(table_names)

    setattr(clone, "check_constraints", check_and_record)  # noqa: B010, because types take it for a method
    with clone.execute_wrapper(tape.watch):
        schema.add_missing_tables(clone.alias)
        executor.migrate(wanted, plan=plan, fake=faked == "all", fake_initial=faked == "initial")


def unknown_migrations(executor: MigrationExecutor) -> list[str]:
    """Return the last migrations of apps that are none of the code's, because newer code applied them.

    Others may be missing, because what was squashed is removed one day.
    """
    last: dict[str, str] = {}
    if executor.recorder.has_table():
        rows = executor.recorder.migration_qs.order_by("id")
        last.update(rows.values_list("app", "name"))
    known = executor.loader.disk_migrations
    return sorted(
        f"{app}.{name}"
        for app, name in last.items()
        if app in executor.loader.migrated_apps and (app, name) not in known
    )


def _rename_content_types(
    plan: list[tuple[Migration, bool]], clone: BaseDatabaseWrapper, executor: MigrationExecutor
) -> None:
    """Add to the plan what Django's receiver of ``pre_migrate`` would, where content types live."""
    if apps.is_installed("django.contrib.contenttypes") and router.allow_migrate(
        clone.alias, "contenttypes", model_name="contenttype"
    ):
        from django.contrib.contenttypes import management

        state = executor.loader.project_state()
        management.inject_rename_contenttypes_operations(
            plan=plan, apps=state.apps, using=clone.alias
        )


def _finished(tape: Tape) -> Iterator[Part]:
    has_checked = False
    for part in tape.parts:
        part.by_operations = part.by_operations or (bool(tape.separate) and bool(part.migration))
        if part.by_operations:
            part.steps = []
        else:
            part.calls = []  # Project states are heavy.
        if part.ledger or part.calls or any(not isinstance(step, Check) for step in part.steps):
            part.steps, has_checked = _without_needless_checks(part, tape, has_checked=has_checked)
            yield part


def _without_needless_checks(
    part: Part, tape: Tape, *, has_checked: bool
) -> tuple[list[Step], bool]:
    """Return the steps of a part without checks that can find nothing, and whether all is checked after it.

    Each database would be read once more for each.
    """
    kept: list[Step] = []
    for step in part.steps:
        if isinstance(step, Check):
            if has_checked:
                continue
            has_checked = True
        else:
            has_checked = has_checked and (
                isinstance(step, Statement) and tape.replayer.leaves_keys_alone(step.sql)
            )
        kept.append(step)
    return kept, has_checked and not part.by_operations


def rehearse(plan: Plan, source: BaseDatabaseWrapper, replayer: Replayer) -> None:
    """Replay what was recorded, less the code, on a second clone; raise ``CannotRecord`` if it differs."""
    with clone_of(source, replayer) as clone:
        stage = Stage(clone, replayer)
        with nullcontext() if plan.separate else replayer.transaction(clone):
            for part in plan.parts:
                part.play(stage, code=False)
        if replayer.state(clone) != plan.after:
            raise CannotRecord("Replayed, the plan leads to another schema than recorded.")
