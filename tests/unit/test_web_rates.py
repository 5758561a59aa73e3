"""How much users and projects may do within an hour."""

from pathlib import Path

import pytest

from backend.web.errors import ApiError
from backend.web.rates import HOUR, Rates
from tests.unit.test_web_lab import CHROOTS, running_lab


def test_an_hour_lasts_an_hour() -> None:
    now = 100.0
    rates = Rates(2, lambda: now)
    rates.take("a")
    now += 60
    rates.take("a")
    rates.take("b")
    with pytest.raises(ApiError, match=r"2 uploads .* try again in 60 min") as caught:
        rates.take("a")
    assert caught.value.headers == {"Retry-After": str(int(HOUR) - 60 + 1)}
    now += HOUR - 60
    rates.take("a")  # what was refused did not count
    with pytest.raises(ApiError):
        rates.take("a")


def test_no_limit() -> None:
    rates = Rates(0)
    for _ in range(1000):
        rates.take("a")


def test_uploads_are_limited(tmp_path: Path) -> None:
    with running_lab(tmp_path, web__upload_rate="1") as lab:
        lab.project(chroots=[CHROOTS[0]])
        assert lab.upload().status_code == 200
        refused = lab.upload()
        assert (refused.status_code, "web.upload_rate" in refused.json()["error"]) == (429, True)
        assert 0 < int(refused.headers["Retry-After"]) <= HOUR


def test_webhooks_are_limited_for_each_project_and_only_with_the_secret(tmp_path: Path) -> None:
    with running_lab(tmp_path, web__hook_rate="2") as lab:
        places = []
        for name in ("one", "two"):
            number = lab.project(name, chroots=[CHROOTS[0]])["id"]
            secret = lab.api("POST", f"/webhook/generate/admin/{name}").json()["webhook_secret"]
            scm = {"clone_url": "https://x/y.git"}
            lab.api("POST", f"/package/add/admin/{name}/tools/scm", scm)
            places.append(f"{number}/{secret}")

        def post(where: str) -> int:
            reply = lab.client.post(f"/webhooks/custom/{where}/tools/")
            assert (reply.status_code == 429) == ("Retry-After" in reply.headers)
            return reply.status_code

        wrong = places[0].replace("/", "/0")
        assert [post(wrong) for _ in range(3)] == [403, 403, 403]
        assert [post(places[0]) for _ in range(3)] == [200, 200, 429]
        assert lab.client.post(f"/webhooks/github/{places[0]}/", json={}).status_code == 429
        assert [post(places[1]) for _ in range(3)] == [200, 200, 429]
        assert len(lab.tasks()) == 4
