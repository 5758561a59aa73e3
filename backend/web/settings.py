"""What projects and their chroots can be set to: names, defaults, and what is refused."""

import re
from collections.abc import Mapping
from typing import Any

from backend.web import names
from backend.web.errors import ApiError
from backend.web.models import Project

ISOLATION = ("default", "simple", "nspawn")
#: Where results are kept; the real frontend also has Pulp.
STORAGE = "backend"
BOOTSTRAP = ("default", "on", "off", "image", "custom_image")

#: What a project has besides name, description and chroots, with its defaults.
SHOWN: dict[str, Any] = {
    "persistent": False,
    "additional_repos": [],
    "homepage": None,
    "contact": None,
    "instructions": "",
    "devel_mode": False,
    "unlisted_on_hp": False,
    "auto_prune": True,
    "enable_net": False,
    "bootstrap": "default",
    "isolation": "default",
    "module_hotfixes": False,
    "appstream": False,
    "packit_forge_projects_allowed": [],
    "follow_fedora_branching": True,
    "repo_priority": None,
}
#: The same, but nobody is shown it.
HIDDEN: dict[str, Any] = {
    "bootstrap_image": "",
    "multilib": False,
    "fedora_review": False,
    "runtime_dependencies": [],
    "delete_after_days": None,
    "prune_keep": None,
}
ALL = {**SHOWN, **HIDDEN}
NUMBERS = {
    "repo_priority": (1, 99),
    "delete_after_days": (-1, 10_000),
    "prune_keep": (-1, 100_000),
}
MOST_TEXT = 64 * 1024
#: Most seconds that a build may be given.
LONGEST = 7 * 24 * 3600
IMAGE_PATTERN = f"^{names.PLAIN}{{0,500}}$"
WORD_PATTERN = f"^{names.PLAIN}{{1,2000}}$"
MODULE_PATTERN = r"^!?[A-Za-z0-9_.+-]+:[A-Za-z0-9_.+/-]+$"

#: Lists of a chroot, given as text with spaces.
LISTS = (
    *("additional_repos", "additional_packages", "additional_modules"),
    *("with_opts", "without_opts"),
)
CHROOT: dict[str, Any] = {
    **{name: [] for name in LISTS},
    "isolation": "unchanged",
    "bootstrap": "unchanged",
    "bootstrap_image": "",
    "comps_name": None,
    "delete_after_days": None,
}


def of(project: Project, name: str) -> Any:
    """A setting of the project."""
    return project.settings.get(name, ALL[name])


def of_chroot(project: Project, chroot: str) -> dict[str, Any]:
    """All settings of one of its chroots."""
    return {**CHROOT, **(project.chroot_settings or {}).get(chroot, {})}


def read(body: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a request gives; null means "not given"."""
    given = dict(body)
    if given.get("storage") not in (None, STORAGE):
        raise ApiError(400, f"storage: results are kept on disk here: give {STORAGE!r}, or nothing")
    if given.get("repos") is not None:  # its name in project/edit
        given["additional_repos"] = given["repos"]
    found = {key: given[key] for key in ALL if given.get(key) is not None}
    for key, value in found.items():
        _check(key, value, ALL[key])
    for key, (least, most) in NUMBERS.items():
        if key in found:
            found[key] = None if found[key] == -1 else names.number(found, key, 0, least, most)
    for key in ("additional_repos", "runtime_dependencies"):
        if key in found:
            found[key] = names.repos(found[key], key)
    names.strings(found.get("packit_forge_projects_allowed"), "packit_forge_projects_allowed")
    wanted = bootstrap(body)
    return found | (wanted if "bootstrap" in found else {})


def _check(key: str, value: object, default: object) -> None:
    if key in NUMBERS:
        return
    kind = type(default) if isinstance(default, bool | list) else str
    if not isinstance(value, kind):
        raise ApiError(400, f"{key}: must be a {kind.__name__}")
    if isinstance(value, str) and (len(value) > MOST_TEXT or "\0" in value):
        raise ApiError(400, f"{key}: must be text of at most {MOST_TEXT} characters")
    choices = {"isolation": ISOLATION, "bootstrap": BOOTSTRAP}.get(key)
    if choices and value not in choices:
        raise ApiError(400, f"{key}: must be one of {', '.join(choices)}")


def bootstrap(body: Mapping[str, Any]) -> dict[str, Any]:
    """`bootstrap` and its image, as far as they are given and not to stay as they are."""
    value = body.get("bootstrap")
    image = body.get("bootstrap_image")
    image = "" if image is None else image
    if not isinstance(image, str) or not re.fullmatch(IMAGE_PATTERN, image):
        raise ApiError(400, "bootstrap_image: must be the name of an image")
    if value in (None, "unchanged", "untouched"):
        return {}
    if value not in BOOTSTRAP:
        raise ApiError(400, f"bootstrap: must be one of {', '.join(BOOTSTRAP)}")
    if value == "custom_image" and not image:
        raise ApiError(400, "bootstrap_image: name the image")
    return {"bootstrap": value} | ({"bootstrap_image": image} if value == "custom_image" else {})


def _words(key: str, value: str) -> list[str]:
    """The words of a list given as text; copr-cli documents commas between modules."""
    return (value.replace(",", " ") if key == "additional_modules" else value).split()


def read_chroot(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request changes of a chroot's settings."""
    changes: dict[str, Any] = {}
    for key in LISTS:
        value = body.get(key)
        if value is None:
            continue
        words = _words(key, value) if isinstance(value, str) else names.strings(value, key)
        if not all(re.fullmatch(WORD_PATTERN, word) for word in words):
            raise ApiError(400, f"{key}: must be words with spaces between them, without quotes")
        changes[key] = list(dict.fromkeys(words))
    if "additional_repos" in changes:
        changes["additional_repos"] = names.repos(changes["additional_repos"], "additional_repos")
    for word in changes.get("additional_modules", []):
        if not re.fullmatch(MODULE_PATTERN, word):
            raise ApiError(400, f"additional_modules: {word[:100]!r}: write NAME:STREAM")
    isolation = body.get("isolation")
    if isolation is not None:
        if isolation not in ("unchanged", *ISOLATION):
            raise ApiError(400, f"isolation: must be one of unchanged, {', '.join(ISOLATION)}")
        changes["isolation"] = isolation
    if body.get("bootstrap") == "unchanged":
        changes["bootstrap"] = "unchanged"
    return changes | bootstrap(body)


def reset(body: Mapping[str, Any]) -> list[str]:
    """Names of the settings of a chroot that go back to their defaults."""
    fields = names.strings(body.get("reset_fields"), "reset_fields")
    for field in fields:
        if field not in CHROOT:
            known = ", ".join(CHROOT)
            raise ApiError(
                400, f"Trying to reset an invalid attribute: {field[:100]}. Known are: {known}"
            )
    return fields
