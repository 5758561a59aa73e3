"""What builds for a chroot are configured with, as API v3 tells it.

copr-cli's `mock-config` writes this into a file that mock executes as Python, without escaping
anything. What is refused when it is entered may still be stored from before, or come from a backup:
so it is looked at once more here.
"""

from typing import Any

from backend.web import settings, tasks
from backend.web.models import Build, Project
from backend.web.names import is_plain
from backend.web.store import Context


def of(ctx: Context, project: Project, chroot: str, build: Build | None = None) -> dict[str, Any]:
    """Of the next build for that chroot of the project, or of one that there is.

    What would not be safe in such a file is left out, and its field named in `left_out`, which is
    not there otherwise.
    """
    own = settings.of_chroot(project, chroot)
    options = (build.options or {}) if build else {}
    dirname = build.dirname if build else project.name
    nothing = {"module_hotfixes": None, "priority": None, "repo_gpgcheck": None}
    isolation = tasks.isolation(build, own) if build else own["isolation"]
    return _safe(
        {
            **{name: own[name] for name in settings.LISTS},
            "isolation": isolation,
            "chroot": chroot,
            "enable_net": build.enable_net if build else settings.of(project, "enable_net"),
            "additional_repos": [
                f"copr://{project.full_name}",
                *settings.of(project, "additional_repos"),
                *own["additional_repos"],
            ],
            "repos": [nothing | repo for repo in tasks.repos(ctx, project, dirname, chroot)],
            **tasks.bootstrap(options, project, own),
        }
    )


def _safe(made: dict[str, Any]) -> dict[str, Any]:
    kept = {name: list(filter(_harmless, made[name])) for name in settings.LISTS}
    kept["repos"] = [repo for repo in made["repos"] if _harmless(repo["baseurl"])]
    left_out = [name for name, values in kept.items() if len(values) < len(made[name])]
    if not _harmless(made["isolation"]):
        made |= {"isolation": "default"}
        left_out.append("isolation")
    if not _harmless(made.get("bootstrap_image", "default")):
        made = {name: made[name] for name in made if not name.startswith("bootstrap")}
        left_out.append("bootstrap_image")
    return made | kept | ({"left_out": left_out} if left_out else {})


def _harmless(word: object) -> bool:
    """Neither Python's quotes nor, because mock expands them, the signs of a template."""
    return is_plain(word) and not any(sign in str(word) for sign in ("{{", "{%", "{#"))
