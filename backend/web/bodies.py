"""JSON schemas of what requests of API v3 send, for its description.

Handlers check what they read themselves, with errors for people; a fuzzer compares the two
(`make fuzz`). Fields that are not described here are ignored.
"""

from collections.abc import Mapping
from typing import Any

from backend.web import names, origins, settings

Schema = dict[str, Any]
#: The chroots of this server; `openapi` knows them.
CHROOT: Schema = {"$ref": "#/components/schemas/Chroot"}
TEXT: Schema = {"type": ["string", "null"], "maxLength": 4000}
FLAG: Schema = {"description": "true or false"}
NAME: Schema = {"type": "string"}
BUILDS: Schema = {"type": "array", "items": {"type": "integer"}}
BATCH: Schema = {"type": ["integer", "null"], "minimum": 1}


def strings(item: Schema | None = None, least: int = 0) -> Schema:
    """A list, or null for nothing."""
    kind = "array" if least else ["array", "null"]
    return {"type": kind, "items": item or NAME} | ({"minItems": least} if least else {})


def choice(*values: str) -> Schema:
    """One of these words, or null for nothing."""
    return {"enum": [*values, None]}


def number(least: int, most: int, *, off: bool = False) -> Schema:
    """An integer within bounds, also as text; with `off`, -1 as well."""
    bounds = {"type": "integer", "minimum": least, "maximum": most}
    digits = len(str(most)) - 1  # so that all of them are within the bounds
    text = {"type": "string", "pattern": f"^[1-9][0-9]{{0,{digits - 1}}}$"}
    return {"anyOf": [bounds, *([{"const": -1}] if off else []), text, {"type": "null"}]}


_REPO = f"^(http|https|ftp|copr)://{names.PLAIN}{{1,1990}}$"
REPOS = strings({"type": "string", "pattern": _REPO})
PROJECT_NAME: Schema = {"type": "string", "pattern": names.PROJECT_PATTERN}


def _setting(key: str, default: object) -> Schema:
    if key in settings.NUMBERS:
        least, most = settings.NUMBERS[key]
        return number(least, most, off=True)
    if key in ("additional_repos", "runtime_dependencies"):
        return REPOS
    if isinstance(default, bool):
        return {"type": ["boolean", "null"]}
    if isinstance(default, list):
        return strings()
    return {"type": ["string", "null"], "maxLength": settings.MOST_TEXT}


PROJECT: Mapping[str, Schema] = {
    **{key: _setting(key, value) for key, value in settings.ALL.items()},
    "description": {"type": ["string", "null"]},
    "chroots": strings(CHROOT),
    "bootstrap": choice(*settings.BOOTSTRAP[:-1]),
    "bootstrap_image": {"type": ["string", "null"], "pattern": settings.IMAGE_PATTERN},
    "isolation": choice(*settings.ISOLATION),
    "storage": choice(settings.STORAGE),
}
#: `repos` is the name of `additional_repos` there.
PROJECT_EDIT: Mapping[str, Schema] = {
    **{key: value for key, value in PROJECT.items() if key != "additional_repos"},
    "repos": REPOS,
}


def _words(pattern: str, between: str = " ") -> Schema:
    """A list of words, or a text with these characters between them."""
    word = pattern.removeprefix("^").removesuffix("$")
    text = {"type": "string", "pattern": f"^({word}([{between}]+|$))*$", "maxLength": 2000}
    return {"anyOf": [text, strings({"type": "string", "pattern": pattern})]}


CHROOT_EDIT: Mapping[str, Schema] = {
    **dict.fromkeys(settings.LISTS, _words(settings.WORD_PATTERN)),
    "additional_repos": _words(_REPO),
    "additional_modules": _words(settings.MODULE_PATTERN, " ,"),
    "isolation": choice("unchanged", *settings.ISOLATION),
    "bootstrap": choice("unchanged", *settings.BOOTSTRAP[:-1]),
    "bootstrap_image": PROJECT["bootstrap_image"],
    "reset_fields": strings({"enum": list(settings.CHROOT)}),
    "delete_comps": FLAG,
}

TARGET: Mapping[str, Schema] = {"ownername": NAME, "projectname": NAME}
BUILD: Mapping[str, Schema] = {
    **TARGET,
    "project_dirname": TEXT,
    "chroots": strings(CHROOT),
    "exclude_chroots": strings(CHROOT),
    "timeout": number(0, settings.LONGEST),
    "background": FLAG,
    "enable_net": FLAG,
    "isolation": choice("unchanged", *settings.ISOLATION),
    "bootstrap": choice("unchanged", *settings.BOOTSTRAP[:-1]),
    "after_build_id": BATCH,
    "with_build_id": BATCH,
}
URLS: Mapping[str, Schema] = {
    **BUILD,
    "pkgs": strings(
        {"type": "string", "pattern": r"^https?://[a-z0-9.]+/[!-~]*\.(src\.rpm|nosrc\.rpm|spec)$"},
        least=1,
    ),
}
#: What a source package is made from; which of these are needed depends on the kind.
SOURCE: Mapping[str, Schema] = {
    "clone_url": TEXT,
    "committish": TEXT,
    "subdirectory": TEXT,
    "spec": TEXT,
    "scm_type": choice("git", "svn"),
    "source_build_method": choice(*origins.METHODS),
    "pypi_package_name": TEXT,
    "pypi_package_version": TEXT,
    "spec_generator": choice("pyp2spec", "pyp2rpm"),
    "spec_template": TEXT,
    "python_versions": {"type": ["array", "null"]},
    "gem_name": TEXT,
    "script": {"type": ["string", "null"]},
    "distgit": TEXT,
    "namespace": TEXT,
}
PACKAGE: Mapping[str, Schema] = {
    **SOURCE,
    "max_builds": number(0, 1000),
    "timeout": number(0, settings.LONGEST),
    "chroot_denylist": TEXT,
    "webhook_rebuild": FLAG,
}
NAMED: Mapping[str, Schema] = {**TARGET, "package_name": NAME}

ROLES: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        role: {"enum": ["nothing", "request", "approved"]} for role in ("admin", "builder")
    },
}
ASKED: Schema = {
    **ROLES,
    "properties": {role: {"enum": [True, False, "true", "false"]} for role in ("admin", "builder")},
}


def record(fields: Mapping[str, Schema], *needed: str) -> Schema:
    """An object with these fields."""
    schema: Schema = {"type": "object", "properties": dict(fields)}
    return schema | ({"required": list(needed)} if needed else {})


def _upload(what: str) -> Schema:
    """A form with the options as part `json`, and one file."""
    fields = {
        "json": record(BUILD, "ownername", "projectname"),
        "pkgs": {"type": "string", "format": "binary", "description": what},
    }
    return record(fields, "json", "pkgs")


#: What `build/create/upload` takes.
UPLOAD: Schema = _upload("a source package")
#: What `build/create/rpm-upload` takes.
RPM_UPLOAD: Schema = _upload("a binary package")
