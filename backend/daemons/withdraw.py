"""A task that ends otherwise than by its worker's success is not in the repository."""

from backend import rpmtask
from backend.config import Config
from backend.exceptions import FrontendError, FrontendRefused, InfrastructureError, ProtocolError
from backend.frontend import Frontend
from backend.job import RpmTask
from backend.repository import Manners

#: Longest time that a repository may take to be published again, in seconds.
PUBLISH = 600.0
_MANNERS = Manners(who="the job grabber", patience=PUBLISH / 2, timeout=PUBLISH / 2)


def withdraw(config: Config, frontend: Frontend, task_id: str) -> None:
    """Unlist what an attempt may have published right before it died.

    Raises FrontendError when it must be tried again.
    """
    try:
        record = None if task_id.isdigit() else frontend.task(task_id)
        if record is not None:
            task = RpmTask.from_record(record)
            rpmtask.retract(config, task, _MANNERS)
    except (FrontendRefused, ProtocolError):
        return  # the frontend does not know it any more: nor do its readers
    except InfrastructureError as error:
        raise FrontendError(f"build {task_id}: {error}") from error
