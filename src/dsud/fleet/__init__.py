"""Do something to many user databases, survive failures, report them all."""

from dsud.fleet.crossing import WorkerError
from dsud.fleet.member import NotPicklable
from dsud.fleet.outcomes import Outcome, Outcomes, raise_failures
from dsud.fleet.processes import WorkerDied, WorkersFailed
from dsud.fleet.rows import query
from dsud.fleet.selection import UnknownUser, key_of_name, keys, select, unregistered
from dsud.fleet.workers import Processes, Threads, Workers, WorkersRefused, for_each

__all__ = [
    "NotPicklable",
    "Outcome",
    "Outcomes",
    "Processes",
    "Threads",
    "UnknownUser",
    "WorkerDied",
    "WorkerError",
    "Workers",
    "WorkersFailed",
    "WorkersRefused",
    "for_each",
    "key_of_name",
    "keys",
    "query",
    "raise_failures",
    "select",
    "unregistered",
]
