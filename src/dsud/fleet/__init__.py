"""Do something to many user databases, survive failures, report them all."""

from dsud.fleet.aggregates import aggregate
from dsud.fleet.compiled import QueryRefused
from dsud.fleet.crossing import WorkerError
from dsud.fleet.ledger import verify
from dsud.fleet.member import NotPicklable
from dsud.fleet.outcomes import Outcome, Outcomes, raise_failures
from dsud.fleet.processes import WorkerDied, WorkersFailed
from dsud.fleet.reports import ReportFailed, to_arrow, to_csv, to_parquet
from dsud.fleet.rows import query
from dsud.fleet.runs import recorded
from dsud.fleet.selection import UnknownUser, key_of_name, keys, select, unregistered
from dsud.fleet.workers import Processes, Threads, Workers, WorkersRefused, for_each

__all__ = [
    "NotPicklable",
    "Outcome",
    "Outcomes",
    "Processes",
    "QueryRefused",
    "ReportFailed",
    "Threads",
    "UnknownUser",
    "WorkerDied",
    "WorkerError",
    "Workers",
    "WorkersFailed",
    "WorkersRefused",
    "aggregate",
    "for_each",
    "key_of_name",
    "keys",
    "query",
    "raise_failures",
    "recorded",
    "select",
    "to_arrow",
    "to_csv",
    "to_parquet",
    "unregistered",
    "verify",
]
