"""What the API says of itself, and that it does so (`make fuzz` looks further)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.web import bodies, names
from backend.web.errors import ApiError
from backend.web.request import parse_object
from tests.unit.test_web_lab import CHROOTS, Lab, running_lab

FEDORA = CHROOTS[0]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path) as made:
        yield made


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_all_that_the_description_refers_to_is_there(lab: Lab) -> None:
    described = lab.client.get("/api_3/openapi.json").json()
    found = set(references(described["paths"]))
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert "#/components/schemas/Chroot" in found
    assert found <= known
    assert described["components"]["schemas"]["Chroot"]["enum"] == list(CHROOTS)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/build/cancel/1", "POST, PUT"),
        ("/build/delete/list", "DELETE, POST"),
        ("/project/edit/admin/hello", "POST, PUT"),
        ("/package/edit/admin/hello/x/scm", "POST, PUT"),
        ("/build/check-before-build", "POST"),
    ],
)
def test_all_methods_of_an_address_are_named(lab: Lab, path: str, allowed: str) -> None:
    reply = lab.client.get(f"/api_3{path}")
    assert (reply.status_code, reply.headers["Allow"]) == (405, allowed)


def test_only_numbers_are_builds(lab: Lab) -> None:
    assert lab.client.get("/api_3/build/abc").status_code == 404
    assert lab.client.get("/api_3/build/99").json() == {"error": "Build 99 does not exist."}
    assert lab.client.get("/api_3/build/99999999999999999999").status_code == 404


def test_nul_characters_are_replaced(lab: Lab) -> None:
    raw = rb'{"a": "x\u0000y", "b": "\\u0000", "c": "\\\u0000", "d": "\u0000\u0000"}'
    assert parse_object(raw) == {"a": "x�y", "b": r"\u0000", "c": "\\�", "d": "��"}
    lab.project(description="a\0b", chroots=[FEDORA])
    project = lab.client.get("/api_3/project?ownername=admin&projectname=hello").json()
    assert project["description"] == "a�b"
    assert lab.client.get("/api_3/project/search?query=%00").json()["items"] == [project]


def read(value: object) -> int:
    return names.number({"n": value}, "n", 7, 1, 99)


def test_numbers_may_be_written_in_other_ways() -> None:
    assert [read(value) for value in (None, 5, 5.0, "5")] == [7, 5, 5, 5]
    assert names.builds([1, 2.0]) == [1, 2]


@pytest.mark.parametrize("wrong", [5.5, True, "x", 0, 100, [], float("inf")])
def test_other_things_are_no_numbers(wrong: object) -> None:
    with pytest.raises(ApiError):
        read(wrong)


@pytest.mark.parametrize("wrong", [None, {}, [True], ["1"], [1.5]])
def test_other_things_are_no_builds(wrong: object) -> None:
    with pytest.raises(ApiError):
        names.builds(wrong)


def edit(lab: Lab, **body: Any) -> Any:
    return lab.api("PUT", f"/project-chroot/edit/admin/hello/{FEDORA}", body).json()


def test_words_of_a_chroot(lab: Lab) -> None:
    lab.project(chroots=[FEDORA])
    modules = edit(lab, additional_modules="perl:5.30, !ruby:2")["additional_modules"]
    assert modules == ["perl:5.30", "!ruby:2"]
    assert "NAME:STREAM" in edit(lab, additional_modules=["perl:5.30,ruby:2"])["error"]
    assert "words" in edit(lab, with_opts=["a b"])["error"]
    assert "bootstrap_image" in edit(lab, bootstrap_image={})["error"]
    assert json.dumps(bodies.CHROOT_EDIT)  # JSON only
