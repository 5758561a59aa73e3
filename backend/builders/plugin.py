"""Finds the builder that `[builder] type` names: one of the registry, or anybody's class."""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import cast

from backend.builders import Builder, registry
from backend.config import Config
from backend.exceptions import ConfigError, CoprBackendError, ToolError

_METHODS = ("preflight", "chroots", "inspect", "build", "cleanup")


def find_class(name: str) -> Callable[[Config], Builder]:
    """The class behind a registered name or `package.module:Class`.

    The module is looked for where Python looks for any other: in the environment that the
    daemon is installed in, and in PYTHONPATH. Raises ConfigError, with the remedy, if it
    cannot be imported or is no Builder.
    """
    where = registry().get(name, name)
    module_name, _, class_name = where.partition(":")
    problem = f"[builder] type = {name}"
    try:
        with _understood(f"{problem}: importing {module_name}"):
            module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(
            f"{problem}: cannot import {module_name}: {error}:"
            " install it where the daemon is installed, or correct the name"
        ) from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        raise ConfigError(f"{problem}: module {module_name} has no class {class_name!r}")
    missing = [method for method in _METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise ConfigError(
            f"{problem}: it is no builder, it lacks {', '.join(missing)}:"
            " see Builder in backend/builders/__init__.py"
        )
    return cast(Callable[[Config], Builder], found)


def load_builder(config: Config) -> Builder:
    """An instance of the builder that the configuration names; raises as `find_class`."""
    found = find_class(config.builder_type)
    with _understood(f"[builder] type = {config.builder_type}: making it"):
        return found(config)


def try_out(config: Config, builder: Builder) -> None:
    """Its `preflight`; whatever goes wrong there is a CoprBackendError."""
    with _understood(f"[builder] type = {config.builder_type}: its preflight"):
        builder.preflight()


@contextlib.contextmanager
def _understood(what: str) -> Iterator[None]:
    """Somebody else's class raises anything, and must not take the daemon along."""
    try:
        yield
    except (CoprBackendError, ImportError, SyntaxError):
        raise
    except Exception as error:  # the boundary to code that is not ours
        raise ToolError(
            f"{what} failed: {type(error).__name__}: {error}: correct that class"
        ) from error
