"""Finds the builder that `[builder] type` names: one of the registry, or anybody's class."""

import importlib
import inspect
from collections.abc import Callable
from typing import cast

from backend.builders import Builder, registry
from backend.config import Config
from backend.exceptions import ConfigError

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
    return find_class(config.builder_type)(config)
