"""Which actions run next, and how their records are read. No real program is needed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.action import Action, PendingAction
from backend.action_plan import LONGEST_PAUSE, Waiting, pause, plan
from backend.actions import Yard, perform
from backend.constants import ActionType
from backend.exceptions import ActionError, ProtocolError
from backend.rpmfile import is_signed

CAPTURES = Path(__file__).parents[1] / "frontend/captures"


def waiting(number: int, *projects: str, priority: int = 0, not_before: float = 0.0) -> Waiting:
    return Waiting(number, priority, frozenset(projects), not_before=not_before)


def started(
    actions: list[Waiting], limit: int = 9, running: dict[int, Waiting] | None = None
) -> Any:
    return [action.id for action in plan(actions, running or {}, limit, 100.0)]


def test_priority_decides_between_projects_and_age_within_one() -> None:
    actions = [
        waiting(1, "jdoe/a", priority=60),
        waiting(2, "jdoe/a", priority=-99),
        waiting(3, "jdoe/b", priority=0),
        waiting(4, "jdoe/c", priority=-70),
    ]
    assert started(actions) == [4, 3, 1]
    assert started(actions, limit=2) == [4, 3]


def test_a_running_action_holds_back_its_project_only() -> None:
    busy = {1: waiting(1, "jdoe/a")}
    actions = [busy[1], waiting(2, "jdoe/a"), waiting(3, "jdoe/b"), waiting(4)]
    assert started(actions, running=busy) == [3, 4]
    assert started(actions, limit=1, running=busy) == []


def test_a_pausing_action_still_holds_back_its_project() -> None:
    actions = [waiting(1, "jdoe/a", not_before=101.0), waiting(2, "jdoe/a"), waiting(3, "x/y")]
    assert started(actions) == [3]


def test_a_fork_waits_for_both_projects() -> None:
    actions = [waiting(1, "jdoe/a"), waiting(2, "jdoe/a", "alice/b"), waiting(3, "alice/b")]
    assert started(actions) == [1]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-100, 100), st.booleans()), max_size=20),
    st.integers(0, 5),
)
def test_never_two_of_a_project_never_too_many(
    records: list[tuple[str, int, bool]], limit: int
) -> None:
    actions = [waiting(n + 1, p, priority=prio) for n, (p, prio, _) in enumerate(records)]
    running = {a.id: a for a in actions[:1] if records[0][2]}
    chosen = plan(actions, running, limit, 0.0)
    assert len(chosen) + len(running) <= max(limit, len(running))
    projects = [name for action in [*chosen, *running.values()] for name in action.projects]
    assert len(projects) == len(set(projects))
    for action in chosen:
        older = [a for a in actions if a.id < action.id and a.projects & action.projects]
        assert not older


def test_pauses_grow_to_a_limit() -> None:
    pauses = [pause(n) for n in range(1, 12)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 4.0
    assert pauses[-1] == LONGEST_PAUSE


def captured() -> list[dict[str, Any]]:
    found = []
    for path in sorted(CAPTURES.glob("*-action.json")):
        answer = json.loads(path.read_text())["response"]["json"]
        if isinstance(answer, dict) and "action_type" in answer and "result" in answer:
            found.append(answer)
    lines = (CAPTURES / "rare-actions.jsonl").read_text().splitlines()
    return found + [json.loads(line) for line in lines]


def test_every_captured_action_is_read_and_names_its_projects() -> None:
    actions = [Action.from_record(record, record["id"]) for record in captured()]
    assert len(actions) >= 15
    assert all(action.projects for action in actions)
    kinds = {(action.type.name, action.object_type) for action in actions}
    assert kinds >= {
        ("CREATEREPO", "repository"), ("GEN_GPG_KEY", "copr"), ("UPDATE_COMPS", "copr_chroot"),
        ("FORK", "copr"), ("DELETE", "builds"), ("DELETE", "build"), ("DELETE", "copr"),
        ("DELETE", "chroot"), ("RAWHIDE_TO_RELEASE", "None"), ("REMOVE_DIRS", "copr"),
    }  # fmt: skip
    forks = [a.projects for a in actions if a.type is ActionType.FORK]
    assert forks == [{"jdoe/cap1", "jdoe/cap1-fork"}]
    (dirs,) = [a.projects for a in actions if a.type is ActionType.REMOVE_DIRS]
    assert dirs == {"jdoe/rare"}


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {"id": 8, "action_type": 3, "data": "{}"},
        {"id": "7", "action_type": 3, "data": "{}"},
        {"id": 7, "data": "{}"},
        {"id": 7, "action_type": 99, "data": "{}"},
        {"id": 7, "action_type": "3", "data": "{}"},
        {"id": 7, "action_type": 3, "data": "{"},
        {"id": 7, "action_type": 3, "data": 5},
        {"id": 7, "action_type": 3, "data": "[" * 100_000},
    ],
)
def test_a_broken_record_is_one_error(record: object) -> None:
    with pytest.raises(ProtocolError):
        Action.from_record(record, 7)


@pytest.mark.parametrize("raw", [None, 5, {}, {"id": None}, {"id": True}, {"id": -1}])
def test_a_broken_short_record_is_one_error(raw: object) -> None:
    with pytest.raises(ProtocolError):
        PendingAction.from_record(raw)


def test_a_missing_priority_is_an_ordinary_one() -> None:
    assert PendingAction.from_record({"id": 1, "priority": None}).priority == 0
    assert PendingAction.from_record({"id": 1, "priority": "high"}).priority == 0


def act(kind: int, what: str, data: object, **values: Any) -> Action:
    record = {"id": 1, "action_type": kind, "object_type": what, "data": json.dumps(data)}
    return Action.from_record(record | values, 1)


BASE = {"ownername": "jdoe", "projectname": "p", "appstream": False, "devel": False, "storage": 0}
UP = "../../outside"
HOSTILE = [
    (3, "repository", {**BASE, "project_dirnames": [UP], "chroots": ["f-1-x"]}, {}),
    (3, "repository", {**BASE, "project_dirnames": ["p"], "chroots": [UP]}, {}),
    (3, "repository", {**BASE, "ownername": "..", "project_dirnames": ["p"], "chroots": []}, {}),
    (3, "repository", {**BASE, "ownername": None, "project_dirnames": ["p"], "chroots": []}, {}),
    (3, "repository", {**BASE, "project_dirnames": "p", "chroots": []}, {}),
    (3, "repository", [], {}),
    (4, "copr_chroot", {**BASE, "chroot": UP, "comps_present": False}, {}),
    (4, "copr_chroot", {**BASE, "chroot": "f-1-x", "comps_present": True, "url_path": "x"}, {}),
    (
        4,
        "copr_chroot",
        {**BASE, "chroot": "f-1-x", "comps_present": True, "url_path": "//evil.example/x"},
        {},
    ),
    (0, "copr", {**BASE, "project_dirnames": ["p", UP]}, {}),
    (0, "copr", {**BASE, "project_dirnames": [""]}, {}),
    (0, "copr", {**BASE, "project_dirnames": ["."]}, {}),
    (0, "copr", {**BASE, "project_dirnames": ["/etc"]}, {}),
    (0, "build", {**BASE, "project_dirname": UP, "chroot_builddirs": {}}, {}),
    (0, "build", {**BASE, "project_dirname": "p", "chroot_builddirs": {"a-1-x": [UP]}}, {}),
    (0, "build", {**BASE, "project_dirname": "p", "chroot_builddirs": {"a-1-x": ["repodata"]}}, {}),
    (0, "builds", {**BASE, "project_dirnames": {"p": {"a-1-x": [UP]}}}, {}),
    (0, "builds", {**BASE, "project_dirnames": {"p": ["a"]}}, {}),
    (0, "chroot", {**BASE, "chrootname": UP}, {}),
    (7, "copr", {"builds_map": {"a-1-x": {"1": UP}}}, {"old_value": "a/b", "new_value": "c/d"}),
    (7, "copr", {"builds_map": {}}, {"old_value": "a/../b", "new_value": "c/d"}),
    (7, "copr", {"builds_map": {}}, {"old_value": "a/b"}),
    (7, "copr", {"builds_map": {"a-1-x": 5}}, {"old_value": "a/b", "new_value": "c/d"}),
    (6, "None", {**BASE, "copr_dir": "p", "rawhide_chroot": UP, "dest_chroot": "a-1-x"}, {}),
    (11, "copr", ["jdoe/p"], {}),
    (11, "copr", ["jdoe/p:pr:7", "jdoe/../x:pr:7"], {}),
    (11, "copr", {"a": 1}, {}),
    (1, "copr", {}, {}),
    (8, "copr", {}, {}),
    (0, "module", {}, {}),
    (0, "copr", {**BASE, "storage": 1, "project_dirnames": ["p"]}, {}),
]


@pytest.mark.parametrize(("kind", "what", "data", "values"), HOSTILE)
def test_hostile_actions_change_nothing(
    tmp_path: Path, kind: int, what: str, data: object, values: dict[str, str]
) -> None:
    results = tmp_path / "results"
    for name in ("jdoe/p/a-1-x/repodata", "jdoe/p:pr:7", "a/b"):
        (results / name).mkdir(parents=True)
        (results / name / "keep").touch()
    (tmp_path / "outside").mkdir()
    before = sorted(tmp_path.rglob("*"))
    yard = Yard(destdir=results, results_url="http://r", frontend_url="http://f", say=print)
    with pytest.raises((ActionError, ProtocolError)):
        perform(act(kind, what, data, **values), yard)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_symlink_out_of_the_results_is_not_followed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    (tmp_path / "outside/f-1-x").mkdir(parents=True)
    (results / "jdoe").mkdir(parents=True)
    (results / "jdoe/p").symlink_to(tmp_path / "outside")
    yard = Yard(destdir=results, results_url="http://r", frontend_url="http://f", say=print)
    with pytest.raises(ActionError, match="leads out"):
        perform(act(0, "chroot", {**BASE, "chrootname": "f-1-x"}), yard)
    perform(act(0, "copr", {**BASE, "project_dirnames": ["p"]}), yard)
    assert (tmp_path / "outside/f-1-x").is_dir()
    assert not (results / "jdoe/p").is_symlink()


@pytest.mark.parametrize("content", [b"", b"x" * 500, bytes(96) + b"\x8e\xad\xe8\x01" + bytes(12)])
def test_what_is_no_package_is_not_signed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.rpm").write_bytes(content)
    assert not is_signed(tmp_path / "x.rpm")
