"""What a farm at rest leaves behind: nothing, in Redis and in its work directories."""

import contextlib
import shutil

import redis

from backend import constants as names
from backend import layout, publishboard, sign
from backend.builders import Builder, cgroup, etc, sandbox
from backend.config import Config


def sweep_workdirs(config: Config, builder: Builder) -> list[str]:
    """Remove what ended builds left in `statedir/work` and in control groups, and who was killed
    while signing in rundir; returns the troubles met."""
    sign.sweep(config)
    cgroup.sweep(sandbox.groups(config), config.statedir)
    troubles = []
    for slot in sorted((config.statedir / "work").glob("[0-9]*")):
        for left in slot.iterdir():
            try:
                if left.is_dir() and not left.is_symlink():
                    builder.cleanup(left, int(slot.name))
                else:
                    left.unlink()
            except Exception as error:  # noqa: BLE001  (the builder may be anybody's class)
                troubles.append(f"{left} could not be removed: {error}")
        with contextlib.suppress(OSError):
            slot.rmdir()
    etc.forget_all(config)
    return troubles


def forget_publishers(config: Config) -> None:
    """Remove what killed publishers have left where people see them."""
    publishboard.read(layout.publishing(config.statedir))


def forget_ways(config: Config) -> None:
    """Remove the sockets of shared connections to hosts (`hosts.ssh.control_path`). Only for when
    those have been ended, since ssh that is killed leaves its own."""
    shutil.rmtree(config.rundir / "ssh", ignore_errors=True)


def forget_all(client: "redis.Redis") -> None:
    """Remove every key of ours, except reports that the frontend has not accepted yet."""
    kept = client.llen(names.OUTBOX_KEY)
    queues = names.QUEUE_KEY.format(group="*")
    for pattern in ("copr-be:*", queues):
        for key in list(client.scan_iter(match=pattern, count=1000)):
            if not (kept and str(key).startswith(names.OUTBOX_KEY)):
                client.delete(key)
