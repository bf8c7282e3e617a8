"""The pages in a real browser (Debian's chromium), over a served app; commands are answered by the test."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from werkzeug.serving import make_server

from darkroom.runtime.ids import new_id

CHROMIUM = "/usr/bin/chromium"
NASTY = "<img src=x onerror=\"document.title='owned'\">"
STAR = {"label": "star", "class_index": 3, "score": 0.93, "box": [4, 6, 30, 20]}
MOON = {"label": NASTY, "class_index": 1, "score": 0.31, "box": [30, 2, 20, 20]}


@pytest.fixture(scope="session")
def site(running: Any) -> Iterator[str]:
    """The app behind a threaded server on a free port."""
    server = make_server("127.0.0.1", 0, running.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")  # Playwright allows one at a time in a process, and other tests have theirs
def browser() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), "Debian's chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass
class Commands:
    """Plays the command API: remembers what was asked, and answers by method and path, `lost` times not at all."""

    answers: dict[str, Callable[[], tuple[int, dict[str, Any]]] | tuple[int, dict[str, Any]]] = field(
        default_factory=dict
    )
    asked: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    def keys(self, call: str) -> list[str]:
        """The idempotency keys of a call, in the order of asking."""
        return [headers["idempotency-key"] for c, _, headers in self.asked if c == call]

    def __call__(self, route: Route) -> None:
        request = route.request
        headers = {"access-control-allow-origin": "*", "access-control-allow-headers": "*"}
        headers |= {"access-control-allow-methods": "*"}
        if request.method == "OPTIONS":
            route.fulfill(status=200, headers=headers)
            return
        call = f"{request.method} {request.url.split('/api/v1/inference', 1)[1]}"
        body = request.post_data_buffer or b""
        self.asked.append((call, body, dict(request.headers)))
        if self.lost.get(call):
            self.lost[call] -= 1
            route.abort("connectionreset")
            return
        found = self.answers[call]
        status, answer = found() if callable(found) else found
        kind = "application/json" if status < 400 else "application/problem+json"
        route.fulfill(status=status, headers=headers, content_type=kind, body=orjson.dumps(answer).decode())


@dataclass
class Visit:
    page: Page
    site: str
    log: Any
    commands: Commands
    errors: list[str]

    def go(self, path: str) -> Page:
        self.page.goto(self.site + path)
        return self.page


@pytest.fixture
def visit(site: str, browser: Browser, log: Any) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    expect.set_options(timeout=15_000)
    commands, errors = Commands(), list[str]()
    page.route("http://command.test/**", commands)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if "Content Security Policy" in m.text else None)
    yield Visit(page, site, log, commands, errors)
    context.close()
    assert not errors


def finished(log: Any, *found: dict[str, Any]) -> str:
    job: str = log.create(labels=[f"note:{NASTY}"])
    log.event(job, "execution-started", attempt=1, data={"run": 1, "attempt": 1, "executor": NASTY})
    log.succeed(job, [{"input": 0, "kind": "detection", "detections": list(found)}])
    return job


def test_a_job_page_shows_pictures_with_boxes(visit: Visit) -> None:
    job = finished(visit.log, STAR, MOON)
    page = visit.go(f"/jobs/{job}")
    expect(page.locator("#job-status")).to_have_text("succeeded")
    expect(page.locator("#job-model")).to_have_text("shapes@1")
    expect(page.locator("svg .box")).to_have_count(2)
    edge = page.locator("svg .box").last.locator("rect.edge")
    assert [edge.get_attribute(a) for a in ("x", "y", "width", "height")] == ["4", "6", "30", "20"]
    expect(page.locator(".found li")).to_have_text(["star 93 %", f"{NASTY} 31 %"])
    expect(page.locator("figure img").first).to_have_js_property("naturalWidth", 60)
    expect(page.locator("#facts")).to_contain_text("48 ms")
    page.locator("#threshold").fill("0.5")
    expect(page.locator("svg .box")).to_have_count(1)
    expect(page.locator("#threshold-shown")).to_have_text("0.50")


def test_what_users_write_is_never_html(visit: Visit) -> None:
    def no_html() -> None:
        assert visit.page.locator("img[src=x]").count() == 0
        assert visit.page.title() != "owned"

    page = visit.go(f"/jobs/{finished(visit.log, MOON)}")
    expect(page.locator("#labels")).to_contain_text(NASTY)
    expect(page.locator(".found")).to_contain_text(NASTY)
    expect(page.locator("#timeline")).to_contain_text(f"by {NASTY}")
    no_html()
    visit.go("/jobs")
    expect(page.locator("#rows")).to_contain_text(NASTY)
    no_html()
    visit.go("/jobs?id=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    expect(page.locator("#problem")).to_contain_text("Not the beginning of a UUID")
    no_html()


def test_the_page_is_live(visit: Visit) -> None:
    job = visit.log.create()
    page = visit.go(f"/jobs/{job}")
    expect(page.locator("#job-status")).to_have_text("queued")
    expect(page.locator("#timeline tr")).to_have_count(1)
    expect(page.locator("#cancel")).to_be_enabled()
    expect(page.locator("#again")).to_be_disabled()
    visit.log.event(job, "execution-started", attempt=1, data={"run": 1, "attempt": 1, "executor": "e1"})
    expect(page.locator("#job-status")).to_have_text("running")
    expect(page.locator("#timeline tr").last).to_contain_text("run 1, attempt 1 by e1")
    visit.log.event(job, "execution-progressed", data={"done": 1, "total": 4})
    expect(page.locator("#progress-text")).to_have_text("1 of 4")
    visit.log.event(job, "cancelled", void=True)
    expect(page.locator("#timeline tr.void")).to_contain_text("void")
    visit.log.succeed(
        job,
        [
            {
                "input": 0,
                "kind": "classification",
                "classes": [
                    {"index": 1, "label": "star", "score": 0.9},
                    {"index": 0, "label": "moon", "score": 0.1},
                ],
            }
        ],
    )
    expect(page.locator("#job-status")).to_have_text("succeeded")
    expect(page.locator(".bars .label")).to_have_text(["star", "moon"])
    expect(page.locator("#progress-box")).to_be_hidden()
    expect(page.locator("#timeline tr")).to_have_count(5)
    offsets = [int(t) for t in page.locator("#timeline td:first-child").all_inner_texts()]
    assert offsets == sorted(offsets)
    page.locator("#timeline details").first.click()
    expect(page.locator("#timeline pre").first).to_contain_text("darkroom.job.created.v1")


def test_a_failure_is_plain_to_see(visit: Visit) -> None:
    job = visit.log.create()
    error = {"type": "urn:darkroom:problem:model-crashed", "title": "The model crashed", "detail": "Signal 11."}
    visit.log.event(job, "execution-failed", error=error, data={"error": error})
    page = visit.go(f"/jobs/{job}")
    expect(page.locator("#failure")).to_contain_text("The model crashed")
    expect(page.locator("#failure")).to_contain_text("Signal 11.")
    expect(page.locator("#timeline tr").last).to_contain_text("The model crashed: Signal 11.")
    visit.go("/jobs?status=failed")
    expect(page.locator("#rows")).to_contain_text("The model crashed")


def test_cancel_run_again_delete(visit: Visit) -> None:
    job = visit.log.create()
    base = f"/jobs/{job}"
    page = visit.go(base)

    def accepted(kind: str) -> Callable[[], tuple[int, dict[str, Any]]]:
        """Happens when it is asked for."""
        return lambda: (202, {"id": job, "position": visit.log.event(job, kind)})

    visit.commands.answers[f"POST {base}/cancel"] = accepted("cancelled")
    page.locator("#cancel").click()
    expect(page.locator("#job-status")).to_have_text("cancelled")
    assert [c for c, _, _ in visit.commands.asked] == [f"POST {base}/cancel"]
    expect(page.locator("#cancel")).to_be_disabled()
    visit.commands.answers[f"POST {base}/runs"] = (
        409,
        {"type": "urn:darkroom:problem:job-state", "title": "The job's state forbids it", "detail": NASTY},
    )
    page.locator("#again").click()
    expect(page.locator("#problem")).to_contain_text(NASTY)
    call, _, headers = visit.commands.asked[-1]
    assert call == f"POST {base}/runs"
    assert re.fullmatch("[0-9a-f]{32}", headers["idempotency-key"])
    page.locator("#delete").click()
    page.get_by_role("button", name="Keep it").click()
    assert not [c for c, _, _ in visit.commands.asked if c.startswith("DELETE")]
    visit.commands.answers[f"DELETE {base}"] = accepted("deleted")
    page.locator("#delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator("#problem")).to_contain_text("This job was deleted")
    assert visit.commands.asked[-1][0] == f"DELETE {base}"
    visit.go(base)
    expect(page.locator("#problem")).to_contain_text("This job was deleted")
    expect(page.locator("#timeline tr")).to_have_count(3)
    expect(page.locator("#timeline")).not_to_contain_text("undefined")


def test_many_finished_jobs_may_stay_open(visit: Visit) -> None:
    jobs = [finished(visit.log, STAR) for _ in range(7)]
    visit.log.event(jobs[0], "cancelled", void=True)
    for number, job in enumerate(jobs):  # a browser allows six connections to one host
        page = visit.page if number == 0 else visit.page.context.new_page()
        page.goto(f"{visit.site}/jobs/{job}")
        expect(page.locator("#job-status")).to_have_text("succeeded")
        expect(page.locator("#timeline tr")).to_have_count(4 if number == 0 else 3)
        expect(page.locator("#live")).to_be_hidden()


SOURCES = """
window.sources = [];
window.EventSource = class extends EventSource {
  constructor(url) { super(url); window.sources.push(this); }
};
window.hide = (hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
};
window.open_sources = () => window.sources.filter((s) => s.readyState !== EventSource.CLOSED).length;
"""


def test_a_hidden_page_does_not_listen(visit: Visit) -> None:
    visit.page.add_init_script(SOURCES)
    job = visit.log.create()
    page = visit.go(f"/jobs/{job}")
    expect(page.locator("#timeline tr")).to_have_count(1)
    page.evaluate("hide(true)")
    assert page.evaluate("open_sources()") == 0
    visit.log.event(job, "execution-started", attempt=1)
    page.evaluate("hide(false)")
    assert page.evaluate("open_sources()") == 1
    expect(page.locator("#job-status")).to_have_text("running")
    expect(page.locator("#timeline tr")).to_have_count(2)  # the first is there once
    assert page.evaluate("sources.length") == 2


def test_a_finished_page_listens_again_when_the_job_runs_again(visit: Visit) -> None:
    visit.page.add_init_script(SOURCES)
    job = finished(visit.log, STAR)
    page = visit.go(f"/jobs/{job}")
    expect(page.locator("#timeline tr")).to_have_count(3)
    expect(page.locator("#live")).to_be_hidden()
    assert page.evaluate("open_sources()") == 0

    def again() -> tuple[int, dict[str, Any]]:
        return 202, {"id": job, "position": visit.log.event(job, "execution-requested")}

    visit.commands.answers[f"POST /jobs/{job}/runs"] = again
    page.locator("#again").click()
    expect(page.locator("#job-status")).to_have_text("queued")
    expect(page.locator("#timeline tr")).to_have_count(4)
    visit.log.event(job, "execution-started", attempt=1)
    expect(page.locator("#job-status")).to_have_text("running")
    assert page.evaluate("open_sources()") == 1
    visit.log.succeed(job, [])
    expect(page.locator("#timeline tr")).to_have_count(6)
    expect(page.locator("#live")).to_be_hidden()
    assert page.evaluate("open_sources()") == 0


def test_a_page_outlives_refusals(visit: Visit) -> None:
    refused = {"stream": 0, "read": 0}

    def once(kind: str) -> Callable[[Route], None]:
        def answer(route: Route) -> None:
            refused[kind] += 1
            if refused[kind] == 1:
                route.fulfill(status=503, content_type="application/problem+json", body='{"title": "Too busy"}')
            else:
                route.continue_()

        return answer

    visit.page.route("**/events?include=void", once("stream"))
    visit.page.route("**/jobs/*?after=*&wait=5", once("read"))
    job = visit.log.create()
    page = visit.go(f"/jobs/{job}")
    expect(page.locator("#timeline tr")).to_have_count(1)
    assert refused["stream"] == 2
    visit.log.event(job, "execution-started", attempt=1)
    expect(page.locator("#job-status")).to_have_text("running")
    assert refused["read"] == 2
    expect(page.locator("#problem")).to_be_empty()


def test_delete_by_keyboard(visit: Visit) -> None:
    job = visit.log.create()
    page = visit.go(f"/jobs/{job}")
    visit.commands.answers[f"DELETE /jobs/{job}"] = (412, {"title": "The job has changed", "detail": "Read it."})
    expect(page.locator("#delete")).to_be_visible()
    expect(page.locator("#delete")).to_be_enabled()
    page.locator("#delete").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete it").press("Enter")
    expect(page.locator("#problem")).to_contain_text("The job has changed")
    assert visit.commands.asked[0][0] == f"DELETE /jobs/{job}"


def test_a_job_that_is_nowhere(visit: Visit) -> None:
    page = visit.go(f"/jobs/{new_id()}")
    expect(page.locator("#problem")).to_contain_text("There is no such job")
    expect(page.locator("#job")).to_be_hidden()


def test_the_form_uploads_and_leads_to_the_job(visit: Visit, tmp_path: Path) -> None:
    visit.log.register_model("shapes", ["circle", "star"])
    visit.log.register_model("finder", ["car"], kind="detection")
    job = visit.log.create()
    position = visit.log.event(job, "execution-started")
    page = visit.go("/")
    expect(page.locator("#model option")).to_have_text(["finder@1", "shapes@1"])
    expect(page.locator("#field-max_detections")).to_be_visible()
    page.locator("#model").select_option("shapes@1")
    expect(page.locator("#field-top_k")).to_be_visible()
    expect(page.locator("#field-max_detections")).to_be_hidden()
    expect(page.locator("#submit")).to_be_disabled()
    (tmp_path / "<b>cat.png").write_bytes(visit.log.blobs.get(visit.log.picture()["digest"]))
    (tmp_path / "notes.txt").write_text("no picture")
    page.locator("#files").set_input_files([tmp_path / "<b>cat.png", tmp_path / "notes.txt"])
    expect(page.locator("#chosen .name")).to_have_text(["<b>cat.png"])
    expect(page.locator("#progress")).to_contain_text("1 left out")
    page.locator("#top_k").fill("2")
    page.locator("#labels").fill("batch:42, site: north")
    digest = "sha256:" + "c" * 64
    visit.commands.answers["POST /media"] = (201, {"digest": digest})
    visit.commands.answers["POST /jobs"] = (202, {"id": job, "position": position})
    page.locator("#submit").click()
    expect(page).to_have_url(re.compile(f"/jobs/{job}\\?after={position}"))
    expect(page.locator("#job-status")).to_have_text("running")
    calls = {call: body for call, body, _ in visit.commands.asked}
    assert b'filename="' in calls["POST /media"]
    assert orjson.loads(calls["POST /jobs"]) == {
        "model": "shapes@1",
        "parameters": {"min_score": 0, "top_k": 2},
        "labels": {"batch": "42", "site": "north"},
        "inputs": [{"media": digest}],
    }


def test_a_create_whose_answer_was_lost_keeps_its_key(visit: Visit, tmp_path: Path) -> None:
    visit.log.register_model("shapes", ["circle"])
    job = visit.log.create()
    position = visit.log.event(job, "execution-started")
    page = visit.go("/")
    expect(page.locator("#model option")).to_have_text(["shapes@1"])
    (tmp_path / "cat.png").write_bytes(visit.log.blobs.get(visit.log.picture()["digest"]))
    page.locator("#files").set_input_files(tmp_path / "cat.png")
    visit.commands.answers["POST /media"] = (201, {"digest": "sha256:" + "c" * 64})
    visit.commands.lost["POST /jobs"] = 4
    page.locator("#submit").click()
    expect(page.locator("#problem")).to_contain_text("The command API does not answer")
    page.locator("#labels").fill("batch:43")
    visit.commands.lost["POST /jobs"] = 0
    visit.commands.answers["POST /jobs"] = (502, {"title": "Bad gateway"})
    page.locator("#submit").click()
    expect(page.locator("#problem")).to_contain_text("Bad gateway")
    visit.commands.lost["POST /jobs"] = 1
    visit.commands.answers["POST /jobs"] = (202, {"id": job, "position": position})
    page.locator("#submit").click()
    expect(page).to_have_url(re.compile(f"/jobs/{job}"))
    keys = visit.commands.keys("POST /jobs")
    assert len(keys) == 7
    assert len(set(keys[:4])) == len(set(keys[4:])) == 1
    assert keys[0] != keys[4]  # other content is another job


def test_a_refused_picture_is_marked(visit: Visit, tmp_path: Path) -> None:
    visit.log.register_model("shapes", ["circle"])
    page = visit.go("/")
    expect(page.locator("#model option")).to_have_count(1)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    page.locator("#files").set_input_files(tmp_path / "torn.png")
    visit.commands.answers["POST /media"] = (422, {"title": "The picture cannot be decoded", "detail": "Torn."})
    page.locator("#submit").click()
    expect(page.locator("#chosen .why")).to_have_text("The picture cannot be decoded")
    expect(page.locator("#problem")).to_contain_text("Some pictures cannot be used")
    expect(page.locator("#problem")).to_contain_text("They are marked below")
    expect(page.locator("#problem li")).to_have_text("torn.png The picture cannot be decoded")
    page.get_by_role("button", name="Leave out torn.png").click()
    expect(page.locator("#chosen li")).to_have_count(0)


def test_samples_can_be_tried(visit: Visit) -> None:
    page = visit.go("/")
    samples = page.locator("#samples button")
    expect(samples.first).to_be_visible()
    samples.first.click()
    expect(page.locator("#chosen li")).to_have_count(1)


def test_the_list_filters_and_pages(visit: Visit) -> None:
    visit.log.register_model("shapes", ["circle"])
    jobs = [visit.log.create() for _ in range(52)]
    visit.log.event(jobs[0], "cancelled")
    page = visit.go("/jobs")
    expect(page.locator("#rows tr")).to_have_count(50)
    expect(page.locator("#statuses")).to_contain_text("queued51")
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page.locator("#rows tr").last).to_contain_text(jobs[0])
    page.get_by_role("link", name="cancelled").click()
    expect(page).to_have_url(re.compile(r"/jobs\?status=cancelled$"))
    expect(page.locator("#rows tr")).to_have_count(1)
    page.locator("#id").fill(jobs[1][:13])
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(f"status=cancelled&id={jobs[1][:13]}"))


def test_the_monitor_shows_lag(visit: Visit) -> None:
    visit.log.create()
    visit.log.database.checkpoints.update_one({"_id": "jobs:g1:p0"}, {"$inc": {"end_seen": 7}})
    page = visit.go("/monitor")
    expect(page.locator("#projections tr")).to_have_count(7)
    expect(page.locator("#projections tr").first.locator(".lagging")).to_have_text("7")


def test_pages_allow_nothing_from_elsewhere(service: Any) -> None:
    for path in ("/", "/jobs", f"/jobs/{new_id()}", "/monitor"):
        answer = service.client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        html = answer.get_data(as_text=True)
        assert not re.search(r"(src|href)=\"(https?:)?//", html)
        assert "<style" not in html
        assert " on" not in re.sub(r">[^<]*<", "><", html).replace(" only", "")
    script = service.client.get("/assets/js/job.js")
    assert (script.status_code, script.mimetype) == (200, "text/javascript")
    again = service.client.get("/assets/js/job.js", headers={"If-None-Match": script.headers["ETag"]})
    assert again.status_code == 304
    for path in ("/assets/../store.py", "/assets/%2e%2e/store.py", "/samples/..%2fexpected.json", "/samples/x"):
        assert service.client.get(path).status_code == 404
