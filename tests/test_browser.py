"""What a person does in a browser, against the whole stack: upload, watch, read, and try the API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from darkroom.cli.connect import Stack

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",  # the tests may run as root, where Chromium's sandbox does not start
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WAIT_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium (see `darkroom doctor`)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page that fails the test on any script error, failed request, or answer of 500 and above."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda r: errors.append(f"{r.status} {r.url}") if r.status >= 500 else None)
    page.on("requestfailed", lambda r: None if _left(r) else errors.append(f"{r.failure} {r.url}"))
    yield page
    seen = list(errors)  # closing the page breaks off what is under way
    context.close()
    assert seen == []


def _left(request: Request) -> bool:
    """A stream, or a picture still loading, that was broken off because the page was left."""
    return request.failure == "net::ERR_ABORTED" and request.resource_type in ("eventsource", "image")


@pytest.mark.usefixtures("darkroom")
def test_pictures_are_uploaded_and_their_boxes_appear_on_the_live_page(
    page: Page, stack: Stack, samples: Path
) -> None:
    page.goto(stack.query_url)
    page.get_by_label("Model", exact=True).select_option("shapes-detector@1")
    page.locator("#files").set_input_files([samples / "scene-1.jpg", samples / "scene-2.jpg"])
    page.get_by_role("button", name="Develop").click()
    page.wait_for_url("**/jobs/*")
    expect(page.get_by_text("succeeded").first).to_be_visible(timeout=WAIT_MS)
    truth = json.loads((samples / "expected.json").read_text())["pictures"]
    shapes = len(truth["scene-1.jpg"]["shapes"]) + len(truth["scene-2.jpg"]["shapes"])
    expect(page.locator("svg rect").nth(shapes - 1)).to_be_visible(timeout=WAIT_MS)
    for event in ("created", "execution-started", "execution-succeeded"):
        expect(page.get_by_role("cell", name=event).first).to_be_visible()


@pytest.mark.usefixtures("darkroom")
def test_a_picture_that_is_none_is_refused_on_the_page_with_a_reason(
    page: Page, stack: Stack, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    page.goto(stack.query_url)
    page.get_by_label("Model", exact=True).select_option("shapes-classifier@1")
    page.locator("#files").set_input_files([broken])
    page.get_by_role("button", name="Develop").click()
    expect(page.locator("#problem")).to_contain_text("cannot be used")


@pytest.mark.usefixtures("darkroom")
def test_try_it_out_works_in_the_api_page(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.command_url}/api/v1/inference/ui/")
    operation = page.locator(".opblock").filter(has_text="/positions").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response .response-col_status").first
    expect(answer).to_contain_text("200", timeout=WAIT_MS)
    expect(operation.locator(".live-responses-table")).to_contain_text('"end_offset"')
