"""A person at a real browser: from an empty farm to an installed-from repository."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import wait_until
from tests.integration.farm import WAIT as WAIT_FOR_GO
from tests.integration.farm import Farm, make_srpm, running

pytestmark = [pytest.mark.chromium, pytest.mark.rpmbuild, pytest.mark.createrepo, pytest.mark.redis]
TALK = "for i in $(seq 1 {n}); do echo spoken-$i; sleep 0.2; done"
WAIT = 120_000
LONG = "name-" * 18 + "end"


@contextmanager
def browser(farm: Farm, said: list[str], **options: object) -> Iterator[Page]:
    """A page whose console and errors are collected in `said`."""

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            said.append(message.text)

    with sync_playwright() as play:
        program = shutil.which("chromium")
        chromium = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = chromium.new_context(base_url=farm.url, **options).new_page()  # type: ignore[arg-type]
            page.set_default_timeout(WAIT)
            page.on("console", hear)
            page.on("pageerror", lambda error: said.append(str(error)))
            yield page
        finally:
            chromium.close()


def log_in(page: Page, farm: Farm) -> None:
    parser = ConfigParser(interpolation=None)
    parser.read(farm.top / "state" / "copr-cli.conf")
    page.goto("/login")
    page.get_by_label("Login").fill(parser["copr-cli"]["login"])
    page.get_by_label("API token").fill(parser["copr-cli"]["token"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible(timeout=WAIT)


def begun(farm: Farm, build: int) -> bool:
    items = farm.api("GET", f"build-chroot/list?build_id={build}")["items"]
    return any(item["state"] in ("running", "succeeded", "failed") for item in items)


def upload(page: Page, package: Path, project: str) -> None:
    """Send a package with the form, and wait until its build is listed."""
    page.goto(f"/coprs/admin/{project}/")
    before = page.locator(".builds tbody tr").count()
    page.locator("input[type=file]").set_input_files(package)
    page.get_by_role("button", name="Upload and build").click()
    expect(page.locator(".builds tbody tr")).to_have_count(before + 1, timeout=WAIT)


HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


def not_too_wide(page: Page) -> None:
    for width in (390, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


def test_a_person_builds_watches_cancels_and_reads_why(tmp_path: Path) -> None:
    talker = make_srpm(tmp_path / "a", "talker", TALK.format(n=15))
    hog = make_srpm(tmp_path / "b", "hog", TALK.format(n=9000))
    third = make_srpm(tmp_path / "c", "third")
    said: list[str] = []
    with running(backend__group0_max_workers="1") as farm, browser(farm, said) as page:
        log_in(page, farm)
        page.get_by_role("link", name="New project").click()
        page.get_by_label("Name").fill("shop")
        page.get_by_role("button", name="Create the project").click()
        expect(page.get_by_role("heading", name="admin/shop")).to_be_visible(timeout=WAIT)

        upload(page, talker, "shop")
        chroot = next(iter(farm.api("GET", "mock-chroots/list")))
        wait_until(lambda: begun(farm, 1), 60, "the RPM build begins")
        page.goto(f"/coprs/build/1/log/{chroot}")
        expect(page.locator("#live")).to_contain_text("complete", timeout=WAIT)
        log = page.locator("#log").inner_text()
        spoken = [int(number) for number in re.findall(r"^spoken-(\d+)$", log, re.M)]
        assert spoken == list(range(1, 16))
        farm.wait(1, "succeeded")
        page.goto("/coprs/build/1")
        expect(page.locator("#state")).to_have_text("succeeded", timeout=WAIT)
        page.goto(f"/results/admin/shop/{chroot}/")
        expect(page.get_by_role("link", name="repodata/")).to_be_visible(timeout=WAIT)

        upload(page, hog, "shop")
        wait_until(lambda: begun(farm, 2), 60, "the RPM build begins")
        upload(page, third, "shop")
        page.goto("/coprs/build/3")
        expect(page.locator(".waiting").first).to_contain_text("waiting", timeout=WAIT)
        page.goto("/")
        expect(page.locator("#main")).to_contain_text("hog", timeout=WAIT)
        not_too_wide(page)
        page.goto("/coprs/build/2")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#state")).to_have_text("canceled", timeout=WAIT)
        farm.wait(3, "succeeded")
        farm.create(LONG)
        farm.api("PUT", f"project/edit/admin/{LONG}", {"description": "x" * 300})
        page.goto("/")
        expect(page.locator("#main")).to_contain_text(LONG, timeout=WAIT)
        for path in (
            "/",
            "/workers",
            f"/coprs/admin/{LONG}/",
            "/search?q=hog",
            "/coprs/admin/shop/",
            "/coprs/build/2",
        ):
            page.goto(path)
            not_too_wide(page)
    assert said == []


def test_pages_are_whole_without_javascript(tmp_path: Path) -> None:
    red = make_srpm(tmp_path, "red", "echo 'int main(void) { return x; }' >a.c\ngcc a.c")
    said: list[str] = []
    with running() as farm, browser(farm, said, java_script_enabled=False) as page:
        log_in(page, farm)
        farm.create("dark")
        page.goto("/coprs/admin/dark/")
        page.locator("input[type=file]").set_input_files(red)
        page.get_by_role("button", name="Upload and build").click()
        expect(page.locator(".builds tbody tr")).to_have_count(1, timeout=WAIT)
        farm.wait(1, "failed")
        page.goto("/coprs/build/1")
        expect(page.locator(".kind")).to_have_text("compile", timeout=WAIT)
        page.locator(".keys a", has_text="undeclared").click()
        expect(page.locator("#log")).to_contain_text("undeclared", timeout=WAIT)
        assert page.locator("#log").inner_text().startswith("a.c:")
    assert said == []


def test_following_survives_restarts_and_rests_while_nobody_looks(tmp_path: Path) -> None:
    """The frontend is killed, a proxy answers in its place, the tab is hidden and shown again."""
    hog = make_srpm(tmp_path, "hog", f"{TALK.format(n=20)}; {WAIT_FOR_GO}; echo spoken-21")
    asked: list[str] = []
    with running() as farm, browser(farm, []) as page:
        farm.create()
        farm.submit(hog)
        wait_until(lambda: begun(farm, 1), 60, "the RPM build begins")
        chroot = next(iter(farm.api("GET", "mock-chroots/list")))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"/coprs/build/1/log/{chroot}")
        expect(page.locator("#live")).to_have_text("Following the log.", timeout=WAIT)
        page.route("**/follow/**", lambda route: route.fulfill(status=502), times=1)
        (web,) = farm.titled("copr-be: web")
        os.kill(web, signal.SIGKILL)
        expect(page.locator("#live")).to_contain_text("lost", timeout=WAIT)
        expect(page.locator("#live")).to_have_text("Following the log.", timeout=WAIT)
        expect(page.locator("#log")).to_contain_text("spoken-20\n", timeout=WAIT)
        page.evaluate(HIDE, True)
        before = len(asked)
        farm.let_go()
        farm.wait(1, "succeeded")
        page.evaluate("0")  # what it asked meanwhile is only heard of in a call
        assert asked[before:] == []
        page.evaluate(HIDE, False)
        expect(page.locator("#live")).to_have_text("The log is complete.", timeout=WAIT)
        spoken = re.findall(r"^spoken-(\d+)$", page.locator("#log").inner_text(), re.M)
        assert [int(number) for number in spoken] == list(range(1, 22))
