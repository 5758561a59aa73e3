"""A drained farm starts nothing new, until it is resumed; a file in statedir keeps that."""

import contextlib
import os
import time
from pathlib import Path

import redis

from backend.config import Config
from backend.constants import DRAIN_KEY


def path(config: Config) -> Path:
    """Where the drain is noted."""
    return config.statedir / "drained"


def reason(config: Config) -> str:
    """When and why the farm was drained; empty when it is not."""
    try:
        return path(config).read_text("utf-8", "replace").strip() or "drained"
    except FileNotFoundError:
        return ""


def begin(config: Config, why: str) -> str:
    """Note the drain; the first reason stays. Returns it."""
    before = reason(config)
    if before:
        return before
    text = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {why}"
    temporary = path(config).with_name(f"drained.{os.getpid()}")
    temporary.write_text(text + "\n", "utf-8")
    temporary.replace(path(config))
    return text


def end(config: Config) -> None:
    """Forget it."""
    with contextlib.suppress(FileNotFoundError):
        path(config).unlink()


def publish(client: "redis.Redis", why: str) -> None:
    """Tell the other processes: the job grabber starts nothing while the key exists."""
    with contextlib.suppress(redis.RedisError):  # told again when Redis is back
        if why:
            client.set(DRAIN_KEY, why)
        else:
            client.delete(DRAIN_KEY)
