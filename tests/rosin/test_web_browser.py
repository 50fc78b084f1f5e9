"""`rosin serve` in Chromium: sliders change numbers to the planner's, and people can use it."""

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra serve")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe_core = pytest.importorskip("axe_core_python", reason="needs axe-core-python")

from planner.runtimes.plan_file import load_runtime_plan
from rosin.web.answering import PageAnswer, answer_to
from rosin.web.app import build_app
from rosin.web.question import Offered, read_question

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, as Debian packages it"),
]
WAIT_MS = 60_000
"""Long enough for a computer that does something else, too."""
AXE = (Path(axe_core.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
AXE_RUN = """axe.run(document).then(found => found.violations
  .filter(each => ["serious", "critical"].includes(each.impact))
  .map(each => each.id + " " + each.nodes[0].html))"""
CHANGED = "before => document.getElementById('status').textContent !== before"


@pytest.fixture(scope="module")
def link() -> Iterator[str]:
    """A page that answers on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_app(Offered()), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, link: str) -> Iterator[Any]:
    """The page with its first answer; nothing on the console, and nothing asked from outside."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    own = context.new_page()
    said: list[str] = []
    own.on("console", lambda message: said.append(message.text))
    own.on("pageerror", lambda error: said.append(str(error)))
    own.on("request", lambda request: said.append(request.url) if _is_outside(request) else None)
    _open(own, link)
    yield own
    context.close()
    assert said == []


def _is_outside(request: Any) -> bool:
    return not request.url.startswith(("http://127.0.0.1:", "data:"))


def _open(page: Any, link: str) -> None:
    page.set_default_timeout(WAIT_MS)
    page.goto(link)
    page.wait_for_selector("#answer .answer-words")


def _status_after(page: Any, act: Any) -> str:
    """The answer in a sentence once an action changed it."""
    before = page.text_content("#status")
    act()
    page.wait_for_function(CHANGED, arg=before)
    return str(page.text_content("#status"))


def _planned(page: Any) -> PageAnswer:
    """What the planner says of the state in the page's address."""
    query = page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")
    answer = answer_to(read_question(query, Offered()).question)
    assert isinstance(answer, PageAnswer)
    return answer


def _has_speed_of(answer: PageAnswer, status: str) -> bool:
    words = re.match(r"([\d.,]+) tokens/s", status)
    assert words is not None
    own = answer.result.predicted.decode.tokens_per_s
    return float(words[1].replace(",", "")) == pytest.approx(own, abs=0.5)


def test_a_slider_changes_numbers_to_the_planners(page: Any) -> None:
    """By keyboard: the field, the link, the speed and the command follow."""
    slider = page.locator("[data-moves=vram_gib]")
    before = float(page.input_value("#vram_gib"))
    slider.focus()

    def moved() -> None:
        for _ in range(8):
            page.keyboard.press("ArrowLeft")

    status = _status_after(page, moved)
    page.wait_for_function("() => location.search.includes('vram_gib')")
    page.wait_for_timeout(1_000)
    status = str(page.text_content("#status"))
    assert float(page.input_value("#vram_gib")) < before
    answer = _planned(page)
    assert _has_speed_of(answer, status)
    assert page.text_content("#answer .command code") == answer.result.command_line


def test_fields_and_reset(page: Any) -> None:
    """A number typed in a field moves its slider; the button brings the PC's own numbers back."""
    first = page.text_content("#status")
    moved = _status_after(page, lambda: page.fill("#prompt_tokens", "8000"))
    assert _has_speed_of(_planned(page), moved)
    slider = page.locator("[data-moves=ram_gib]")
    at_first = slider.input_value()
    page.fill("#ram_gib", "33")
    page.wait_for_function("() => location.search.includes('ram_gib')")
    assert slider.input_value() < at_first
    page.click("[data-reset]")
    page.wait_for_function("() => !location.search.includes('ram_gib')")
    assert slider.input_value() == at_first
    page.wait_for_timeout(500)
    assert _status_after(page, lambda: page.fill("#prompt_tokens", "2000")) == first


def test_a_bad_value_shows_a_message(page: Any) -> None:
    """Beside its field, which is marked; a right one takes it away."""
    status = _status_after(page, lambda: page.fill("#link_gb_per_s", "-1"))
    assert status.startswith("Not worked out")
    assert "above 0" in page.text_content("#link_gb_per_s-problem")
    # Marked once the answer has settled, which is a moment after it is there.
    page.wait_for_selector("#link_gb_per_s[aria-invalid=true]")
    _status_after(page, lambda: page.fill("#link_gb_per_s", "12"))
    assert page.text_content("#link_gb_per_s-problem") == ""
    page.wait_for_selector("#link_gb_per_s[aria-invalid=false]")


def test_another_pc_brings_its_numbers(page: Any) -> None:
    """Typed in, with suggestions on the way; the sliders are then of that PC."""
    page.click("#machine")
    page.keyboard.press("Control+A")
    page.keyboard.type("RTX 3060 + Ryzen 5 5600X + 2x16GB DDR4-32")
    page.wait_for_selector("#machines option[value*='DDR4-3200']", state="attached")
    page.keyboard.type("00")
    _status_after(page, lambda: page.keyboard.press("Tab"))
    page.wait_for_function("() => document.getElementById('ram_gib').value === '32'")
    assert _has_speed_of(_planned(page), str(page.text_content("#status")))


def test_downloads_parse(page: Any, tmp_path: Path) -> None:
    """Every button saves a file: a plan, JSON, and texts of the program's forms."""
    texts = {}
    for button in page.locator(".exports a").all():
        with page.expect_download() as waited:
            button.click()
        path = tmp_path / waited.value.suggested_filename
        waited.value.save_as(path)
        texts[button.text_content()] = path
    assert texts.keys() == {
        "arguments",
        "environment",
        "benchmark",
        "preset",
        "plan file",
        "JSON",
    }
    own = _planned(page).result
    assert json.loads(texts["JSON"].read_text(encoding="utf-8"))["command"] == own.command
    assert load_runtime_plan(texts["plan file"]).runtime.name == "llama.cpp"
    assert texts["arguments"].read_text(encoding="utf-8").strip() == own.command_line


def test_what_to_buy_and_two_pcs(page: Any) -> None:
    """The table of parts follows what is typed; another PC stands beside the first."""
    page.fill("#upgrades", "RTX 4090 = 1600\nnonsense")
    page.click("#offers button")
    page.wait_for_selector("#offered table")
    assert "1,600" in page.text_content("#offered table")
    assert "nonsense" in page.text_content("#offered .problem")
    page.click("#other")
    page.keyboard.type("h100")
    page.keyboard.press("Tab")
    page.wait_for_selector("#compared")
    assert "other=h100" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(browser: Any, link: str, width: int, scheme: str) -> None:
    """On a phone and a desktop, light and dark, with everything open; nothing hangs over the edge."""
    # axe is injected, which the page's own policy would rightly refuse.
    context = browser.new_context(
        bypass_csp=True, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    page = context.new_page()
    _open(page, f"{link}?other=h100&upgrades=RTX+4090+%3D+1600")
    page.click("#offers button")
    page.wait_for_selector("#offered table")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE)
    assert page.evaluate(AXE_RUN) == []
    context.close()
