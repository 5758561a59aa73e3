"""Numbers and names that the parts agree on: protocol enumerations, Redis keys, exit codes.

The enumerations are the frontend's own (Copr's `StatusEnum`, `BuildSourceEnum`); their
numbers travel over the wire and must never change.
"""

from enum import IntEnum
from typing import Final


class Status(IntEnum):
    """State of a build or of one of its chroots, as sent in `update/` and `starting_build/`."""

    FAILED = 0
    SUCCEEDED = 1
    CANCELED = 2
    RUNNING = 3
    PENDING = 4
    SKIPPED = 5
    STARTING = 6
    IMPORTING = 7
    FORKED = 8
    WAITING = 9
    UNKNOWN = 1000

    @property
    def label(self) -> str:
        """The word that API v3 and the pages show, e.g. `succeeded`."""
        return self.name.lower()


#: No further work will be done for a task in one of these.
FINISHED: Final = frozenset(
    {Status.FAILED, Status.SUCCEEDED, Status.CANCELED, Status.SKIPPED, Status.FORKED}
)


class Source(IntEnum):
    """Where a source build takes its package from (`source_type`)."""

    UNSET = 0
    LINK = 1
    UPLOAD = 2
    PYPI = 5
    RUBYGEMS = 6
    SCM = 8
    CUSTOM = 9
    DISTGIT = 10


class ActionType(IntEnum):
    """What the frontend wants done beside builds (`action_type`)."""

    DELETE = 0
    RENAME = 1
    LEGAL_FLAG = 2
    CREATEREPO = 3
    UPDATE_COMPS = 4
    GEN_GPG_KEY = 5
    RAWHIDE_TO_RELEASE = 6
    FORK = 7
    UPDATE_MODULE_MD = 8
    BUILD_MODULE = 9
    CANCEL_BUILD = 10
    REMOVE_DIRS = 11


class ActionResult(IntEnum):
    """How an action ended, as sent in `update/`."""

    WAITING = 0
    SUCCESS = 1
    FAILURE = 2


class Exit(IntEnum):
    """What `copr_be.py` returns to the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ALREADY_RUNNING = 3
    #: The same number: no daemon to ask or to tell (as the LSB has it for `status`).
    NOT_RUNNING = 3
    #: `status` may not look.
    UNKNOWN = 4
    INTERRUPTED = 130


#: Value of the `Copr-FE-BE-API-Version` header that this implementation speaks.
API_VERSION: Final = 9
API_VERSION_HEADER: Final = "Copr-FE-BE-API-Version"

#: `chroot` of a source build in `update/`, and its directory among the results.
SRPM_CHROOT: Final = "srpm-builds"

# --- Redis keys ---------------------------------------------------------------------------

#: retask adds `retaskqueue-` itself; format with the group's id.
QUEUE_NAME: Final = "copr-be-{group}"
QUEUE_KEY: Final = "retaskqueue-copr-be-{group}"
#: List with what one worker holds, 0 or 1 entries.
CLAIM_KEY: Final = "copr-be:claim:{worker}"
CLAIM_PREFIX: Final = "copr-be:claim:"
#: Hash: pid, start (kernel start time), group; task and since (epoch; both empty while idle).
WORKER_KEY: Final = "copr-be:worker:{worker}"
WORKER_PREFIX: Final = "copr-be:worker:"
#: Set of the names of all workers that have registered or claimed.
WORKERS_KEY: Final = "copr-be:workers"
#: Fencing token, one INCR per start.
ATTEMPT_KEY: Final = "copr-be:attempt:{task}"
#: Hash: deaths (workers that died over the task), faults (the farm could not do it), told (where
#: the results of the last start lie: `backend.records.Told`).
TASK_KEY: Final = "copr-be:task:{task}"
#: Sorted set of who died lately (tasks whose worker did, job grabbers), by time.
DEATHS_KEY: Final = "copr-be:deaths"
#: How long a death counts as late, in seconds.
LATELY: Final = 600.0
#: There for KEEP_DELIVERED seconds: the frontend has accepted the task's success.
DELIVERED_KEY: Final = "copr-be:delivered:{task}"
KEEP_DELIVERED: Final = 3600
#: So long, in seconds, it is known where a task lies that ended without a report.
KEEP_TOLD: Final = 3600
#: Set of task ids that a worker must stop.
CANCEL_KEY: Final = "copr-be:cancel"
#: Set of tasks that a worker has put off: when the frontend wants one no more, it is forgotten.
PUT_OFF_KEY: Final = "copr-be:put-off"
#: Set of tasks that may be published although they have ended otherwise: to be asked for.
OWED_KEY: Final = "copr-be:owed"
#: Hash: `<what> <task id>` → JSON of what the frontend (or a repository) breaks over, and is
#: tried again (`backend.records.Trouble`).
KEPT_KEY: Final = "copr-be:kept"
#: List of reports that the frontend has not accepted yet, oldest first.
OUTBOX_KEY: Final = "copr-be:outbox"
#: Set of the tasks whose report is being sent, or was with unknown success.
SENDING_KEY: Final = "copr-be:outbox:sending"
#: Capped stream of events. The log process shortens it to EVENTS_KEEP once they are written;
#: writers shorten it to EVENTS_MAXLEN, which happens only while there is no log process.
EVENTS_KEY: Final = "copr-be:events"
EVENTS_KEEP: Final = 10_000
EVENTS_MAXLEN: Final = 100_000
#: How far the log process has written: JSON of entry id, inode and offset.
LOGGED_KEY: Final = "copr-be:logged"
#: Why the farm starts nothing new; absent while it does.
DRAIN_KEY: Final = "copr-be:drain"
#: Hash: the job grabber's own state (pass, fetched, trouble, backlog, startable, free, started).
GRABBER_KEY: Final = "copr-be:grabber"
#: Hash: task id → JSON of reason, position, eta, group for what waits.
WAITING_KEY: Final = "copr-be:waiting"
#: Pub/sub channel: "look now"; `backend.wake` has the messages.
WAKE_CHANNEL: Final = "copr-be:wake"
#: Pub/sub channel: the embedded frontend has new actions.
ACTION_CHANNEL: Final = "copr-be:action"

# --- hosts: where a group builds when that is not this machine ----------------------------

#: Hash: host → JSON of what the hosts helper knows of it (`backend.hosts.pool.Machine`).
HOSTS_KEY: Final = "copr-be:hosts"
#: Hash: worker → JSON of what it asks for. Gone once it is granted, or not wanted any more.
HOST_WAITING_KEY: Final = "copr-be:hosts:waiting"
#: Hash: worker → JSON of the host that it holds.
HOST_LEASES_KEY: Final = "copr-be:hosts:leases"
#: Hash: worker → why it still waits for a host.
HOST_WHY_KEY: Final = "copr-be:hosts:why"
#: Hash: group id → JSON of why no machines can be started for it (`backend.hosts.pool.Trouble`).
HOST_TROUBLE_KEY: Final = "copr-be:hosts:trouble"
#: List of how leases ended, for the hosts helper.
HOST_NEWS_KEY: Final = "copr-be:hosts:news"
#: Counter: the fencing token of a lease.
HOST_TOKEN_KEY: Final = "copr-be:hosts:token"  # noqa: S105  (no password)
#: Pub/sub channels: "look now" to the hosts helper; "granted" to one worker.
HOST_CHANNEL: Final = "copr-be:hosts:wake"
HOST_GRANT_CHANNEL: Final = "copr-be:hosts:grant:{worker}"
