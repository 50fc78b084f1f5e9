"""`rosin serve` without a browser: who may ask, what is answered, and what is said of mistakes."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
from starlette.testclient import TestClient

from planner.runtimes.plan_file import load_runtime_plan
from planner.runtimes.search import WAYS
from planner.search.first_answer import first_answer
from planner.search.objectives import Goal
from rosin.commands.simulate.runtime_page import number_words
from rosin.report.sliders import own_numbers
from rosin.web.app import build_app
from rosin.web.guarding import MAX_BODY_BYTES
from rosin.web.question import EXAMPLE_PC, Offered, read_question
from rosin.web.searching import SearchDesk, Searched
from rosin.web.suggesting import suggestions
from rosin.web.upgrades import offer_rows, offers_of
from tests.rosin.scenarios import json_of

HERE = "http://127.0.0.1:8765"
SMALL = {"machine": EXAMPLE_PC, "model": "qwen3-30b-a3b", "quantization": "Q4_K_M"}
AT_THE_PROMPT = [
    *("plan", "--runtime", "llama.cpp", "--model", "qwen3-30b-a3b", "--machine", EXAMPLE_PC),
    *("--quantization", "Q4_K_M", "--prompt-tokens", "2000", "--output-tokens", "300"),
]


class _NoDesk(SearchDesk):
    """A desk that starts no process and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def start(self, setting: Any) -> Searched:
        self.asked.append(setting)
        return Searched(seconds=0.0)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """The page, asked as its own script asks."""
    with TestClient(build_app(Offered(), _NoDesk()), base_url=HERE) as found:
        yield found


def test_the_page_loads_only_its_own_files(client: TestClient) -> None:
    """Every address in the page is one that the page itself answers."""
    text = client.get("/").text
    addresses = re.findall(r'(?:src|href|hx-get|action)="([^"]*)"', text)
    for address in addresses:
        if address != "data:,":
            assert address.startswith("/")
            assert client.get(address).status_code == 200, address


def test_several_answers_at_once_have_a_first_answer(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page asks for it by itself; it is what the planner says before a search. One answer at a
    time has no need of it.
    """
    several = SMALL | {"batch_size": "4", "prompt_tokens": "64", "output_tokens": "20"}
    [address] = re.findall(r'hx-get="(/first[^"]*)"', client.get("/answer", params=several).text)
    assert "/first" not in client.get("/answer", params=SMALL).text
    shown = client.get(html.unescape(address)).text
    question = read_question(several, Offered()).question
    found = first_answer(question.simulated_setting.question(), Goal())
    assert found is not None
    assert f"about {number_words(found.metrics.output_tokens_per_s)} tokens/s together" in shown
    assert found.policy.name in shown
    assert "a whole number" in client.get("/first", params=several | {"batch_size": "0"}).text
    # Nobody waits for compilers without having asked for it.
    monkeypatch.setattr("planner.search.prepare.is_prepared", lambda: False)
    other = several | {"output_tokens": "21"}
    assert "the search compiles the simulator" in client.get("/first", params=other).text


def test_numbers_are_those_of_the_command(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moved numbers give what `rosin plan --runtime --set` gives, to the last digit."""
    moved = {"vram_gib": "12", "link_gb_per_s": "12.1", "dram_gb_per_s": "60"}
    saved = client.get("/export/json", params=SMALL | moved).json()
    sets = [
        *("gpu.memory_bytes=12GiB", "cpu.memory_bytes_per_s=60GB/s"),
        *("link.h2d.bytes_per_s=12.1GB/s", "link.d2h.bytes_per_s=12.1GB/s"),
    ]
    options = [word for each in sets for word in ("--set", each)]
    own = json_of(capsys, *AT_THE_PROMPT, *options)
    assert saved["predicted"] == own["predicted"]
    assert saved["command"] == own["command"]
    assert saved["memory_bytes"] == own["memory_bytes"]


def test_an_answer_shows_the_speed_and_its_link(client: TestClient) -> None:
    """The sentence has the plan's figures; the link repeats the state."""
    response = client.get("/answer", params=SMALL | {"vram_gib": "12", "prompt_tokens": "512"})
    saved = client.get("/export/json", params=SMALL | {"vram_gib": "12", "prompt_tokens": "512"})
    middle = saved.json()["predicted"]["decode"]["tokens_per_s"]
    assert f"{middle:.0f} tokens/s (" in response.text
    link = response.headers["HX-Replace-Url"]
    again = read_question(dict(parse_qsl(link.partition("?")[2])), Offered()).question
    assert again.vram_gib == 12
    assert again.prompt_tokens == 512


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ({"vram_gib": "-3"}, "vram_gib", "a number above 0"),
        ({"ram_gib": "nan"}, "ram_gib", "a number above 0"),
        ({"link_gb_per_s": "fast"}, "link_gb_per_s", "got fast"),
        ({"prompt_tokens": "0"}, "prompt_tokens", "a whole number from 1"),
        ({"batch_size": "1.5"}, "batch_size", "a whole number from 1"),
        ({"machine": "RTX 4080 + Nothing 9"}, "machine", "not understood"),
        ({"model": "no-such"}, "model", "no model named"),
        ({"quantization": "Q99"}, "quantization", "Q99"),
        ({"runtime": "no-such"}, "runtime", "plans are made for"),
        ({"other": "nonsense"}, "other", "nonsense"),
        ({"machine": "x" * 5_000}, "machine", "at most"),
        ({"machine": ""}, "machine", "name a PC"),
    ],
)
def test_a_mistake_is_said_at_its_field(
    client: TestClient, said: dict[str, str], field: str, words: str
) -> None:
    """A bad value is a message beside its field, not an error of the server."""
    response = client.get("/answer", params=SMALL | said)
    assert response.status_code == 200
    place = re.search(rf'<p id="{field}-problem"[^>]*>([^<]*)</p>', response.text)
    assert place is not None
    assert words in place[1]
    assert "HX-Replace-Url" not in response.headers
    assert client.get("/export/json", params=SMALL | said).status_code == 400


@pytest.mark.parametrize("field", ["machine", "other", "model"])
def test_no_file_is_read(client: TestClient, tmp_path: Path, field: str) -> None:
    """A file is nothing the page can name, there or not; what is in it never shows."""
    path = tmp_path / "secret.yaml"
    path.write_text("do-not-show-this: 1\n", encoding="utf-8")
    for name in (str(path), "/etc/passwd", "../../etc/passwd"):
        text = client.get("/answer", params=SMALL | {field: name}).text
        assert "do-not-show-this" not in text
        assert "root:" not in text
        assert "Not worked out" in text


def test_the_file_of_the_start_is_read(tmp_path: Path) -> None:
    """A machine file that the page was started with is a PC like any other."""
    from hwprofiles import load_machine, machine_data, write_yaml

    path = tmp_path / "mine.yaml"
    write_yaml(machine_data(load_machine(EXAMPLE_PC)), path)
    with TestClient(build_app(Offered(machine=str(path))), base_url=HERE) as own:
        assert "tokens/s (" in own.get("/answer").text


@pytest.mark.parametrize(
    "name", ["../page.py", "..%2fapp.py", "page.html", "%2e%2e/question.py", ""]
)
def test_static_serves_its_own_files_alone(client: TestClient, name: str) -> None:
    """Nothing outside the list of files has an address."""
    assert client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    """A name that somebody points at this computer does not lead to the page."""
    assert client.get("/", headers={"host": host}).status_code == 400


def test_names_of_this_computer_are_answered(client: TestClient) -> None:
    """By number, by name, and with the port or without."""
    for host in ("127.0.0.1:8765", "localhost:8765", "localhost", "[::1]:8765"):
        assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_pages_cannot_ask(client: TestClient, headers: dict[str, str]) -> None:
    """Neither post nor read from another origin; following a link to the page is fine."""
    assert client.post("/search", params=SMALL, headers=headers).status_code == 403
    assert client.get("/answer", params=SMALL, headers=headers).status_code == 403
    assert client.get("/", headers=headers).status_code == 200


def test_large_bodies_are_refused(client: TestClient) -> None:
    """By the length that is said, and by what comes where none is."""
    assert client.post("/search", content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413
    headers = {"content-length": "many"}
    assert client.post("/search", headers=headers).status_code == 413


def test_headers_keep_everything_at_home(client: TestClient) -> None:
    """The browser may load nothing from elsewhere, and no other page may frame this one."""
    headers = client.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("more", [{}, {"upgrades": "RTX 4090 = 1600"}, {"other": EXAMPLE_PC}])
def test_cells_stand_under_their_heads(client: TestClient, more: dict[str, str]) -> None:
    """Every row of every table has as many cells as the table has heads."""
    for address in ("/answer", "/upgrades"):
        text = client.get(address, params=SMALL | more).text
        for table in re.findall(r"<table>.*?</table>", text, re.S):
            heads, *rows = (_num_cells(row) for row in re.findall(r"<tr>.*?</tr>", table, re.S))
            assert rows and set(rows) == {heads}, table


def _num_cells(row: str) -> int:
    """How many columns a row of a table takes."""
    cells = re.findall(r"<t[hd]\b([^>]*)>", row)
    spans = [re.search(r'colspan="(\d+)"', attributes) for attributes in cells]
    return sum(1 if span is None else int(span[1]) for span in spans)


def test_a_mistake_names_its_field(client: TestClient) -> None:
    """The sentence at the top, which is all that a phone shows at first, says which number is meant."""
    text = client.get("/answer", params=SMALL | {"link_gb_per_s": "-1"}).text
    assert "Not worked out: Link to the GPU: a number above 0" in html.unescape(text)


def test_markup_in_a_link_is_text(client: TestClient) -> None:
    """What a link says cannot become part of the page."""
    said = {"machine": "<script>alert(1)</script>", "upgrades": "</textarea><b>x", "other": "<i>"}
    for address in ("/", "/answer", "/upgrades"):
        text = client.get(address, params=said).text
        assert "<script>alert" not in text
        assert "</textarea><b>" not in text
        assert "<i>" not in text


def test_plans_are_saved_in_every_form(client: TestClient, tmp_path: Path) -> None:
    """Each file reads back: the plan file as a plan, the arguments as those of the plan."""
    text = client.get("/export/plan", params=SMALL)
    assert "attachment" in text.headers["content-disposition"]
    path = tmp_path / "plan.yaml"
    path.write_text(text.text, encoding="utf-8")
    plan = load_runtime_plan(path)
    assert plan.setting.machine == EXAMPLE_PC
    saved = json.loads(client.get("/export/json", params=SMALL).text)
    assert client.get("/export/args", params=SMALL).text.strip() == saved["command_line"]
    for form in ("env", "bench", "preset"):
        assert client.get(f"/export/{form}", params=SMALL).status_code == 200
    assert client.get("/export/other", params=SMALL).status_code == 404


@pytest.mark.parametrize("runtime", WAYS)
def test_every_program_has_a_plan(client: TestClient, runtime: str) -> None:
    """The page shows what each program can do, and saves it in each form that the program reads."""
    said = SMALL | {"runtime": runtime}
    text = client.get("/answer", params=said).text
    assert "tokens/s (" in text or "No plan: " in text
    for address in re.findall(r'href="(/export/[^"]*)"', text):
        assert client.get(html.unescape(address)).status_code == 200, address


def test_a_search_is_started_by_post_alone(client: TestClient) -> None:
    """Reading starts nothing; posting starts what the page shows, batch included."""
    desk = _NoDesk()
    with TestClient(build_app(Offered(), desk), base_url=HERE) as own:
        own.get("/search", params=SMALL)
        assert desk.asked == []
        own.post("/search", params=SMALL | {"batch_size": "4", "dram_gb_per_s": "38.4"})
    (setting,) = desk.asked
    assert setting.batch_size == 4
    listed = read_question({}, Offered()).question.loaded_machine().cpu.memory_bytes_per_s
    changed = setting.loaded_machine().cpu.memory_bytes_per_s
    assert changed.effective == pytest.approx(listed.effective / 2, rel=1e-3)


def test_a_finished_search_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Speed, bounds, named systems and the command stand in the page as `rosin plan` says them."""
    words = ("--model", "granite-3-1b-a400m", "--machine", "desktop-rtx-3060-ddr4")
    found = json_of(capsys, "plan", *words, "--prompt-tokens", "16", "--output-tokens", "4")

    class Desk(_NoDesk):
        def state(self, setting: Any) -> Searched:
            return Searched(seconds=1.0, result=found)

    with TestClient(build_app(Offered(), Desk()), base_url=HERE) as own:
        text = html.unescape(own.get("/search", params=SMALL).text)
    assert found["command"] in text
    assert found["binding_resource"] in text
    assert "which is proven" in text
    for rival in found["rivals"]:
        assert (f'<th scope="row">{rival["policy"]}</th>' in text) == bool(rival["metrics"])


def test_what_to_buy(client: TestClient) -> None:
    """Prices are divided by; a card is exchanged or added; what is wrong is said line by line."""
    lines = "RTX 4090 = 1,600\n+ RTX 3060 = 250\nnonsense\nRTX 5090 = -1"
    question = read_question(SMALL | {"upgrades": lines}, Offered()).question
    rows, problems = offer_rows(question)
    assert len(problems) == 2
    by_words = {row.words: row for row in rows}
    card = by_words["RTX 4090"]
    assert card.machine == EXAMPLE_PC.replace("RTX 4080", "RTX 4090")
    assert card.gain_fraction is not None and card.gain_fraction > 0
    assert card.tokens_per_s_per_price is not None and card.end_to_end_s is not None
    today = client.get("/export/json", params=SMALL).json()["predicted"]["output_tokens_per_s"]
    gain = 300 / card.end_to_end_s - today
    assert card.tokens_per_s_per_price == pytest.approx(100 * gain / 1_600)
    assert by_words["+ RTX 3060"].machine.startswith("RTX 4080 + RTX 3060 + ")


def test_usual_offers_are_no_step_down() -> None:
    """Without names: cards with no less memory and no slower one, and more or faster memory."""
    offers, problems = offers_of(read_question(SMALL, Offered()).question)
    assert problems == []
    words = [offer.words for offer in offers]
    assert "2x64GB DDR5-4800" in words
    assert not any("4070" in each or "3060" in each for each in words)
    named = read_question(SMALL | {"machine": "h100"}, Offered()).question
    assert all("twice" in offer.words for offer in offers_of(named)[0])


def test_another_pc_resets_the_numbers(client: TestClient) -> None:
    """Numbers that came with another PC are left out, and the new PC's own are shown."""
    said = SMALL | {"vram_gib": "12", "numbers_of": "h100"}
    reading = read_question(said, Offered())
    assert reading.has_new_machine
    assert reading.question.vram_gib is None
    text = client.get("/answer", params=said).text
    assert 'id="pc" hx-swap-oob="true"' in text
    own = own_numbers(reading.question.loaded_machine())["vram_gib"]
    assert f'value="{own:.4g}"' in text


def test_two_pcs_stand_side_by_side(client: TestClient) -> None:
    """The other PC's own best plan beside the first's."""
    text = client.get("/answer", params=SMALL | {"other": "h100"}).text
    assert "The two PCs" in text
    other = client.get("/export/json", params=SMALL | {"machine": "h100"}).json()
    assert f"{other['predicted']['decode']['tokens_per_s']:.0f} tokens/s (" in text


def test_nothing_fits_is_an_answer(client: TestClient) -> None:
    """A model that is too large is answered with by how much."""
    text = client.get("/answer", params=SMALL | {"model": "deepseek-v3"}).text
    assert "No plan: " in text
    assert "more" in text


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        ("RTX 40", "GeForce RTX 4090"),
        ("RTX 4080 + 7950", "RTX 4080 + Ryzen 9 7950X"),
        ("RTX 4080 + Ryzen 9 7950X + ", "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-5200"),
        ("h1", "h100"),
    ],
)
def test_suggestions_complete_the_line(begun: str, expected: str) -> None:
    """What is typed goes on with a part, or a machine's name; every suggestion is a whole line."""
    assert expected in suggestions(begun)


def test_a_stopped_search_leaves_nothing() -> None:
    """Another question ends the search under way; what ended with an error says why."""
    desk = SearchDesk()
    first = read_question(SMALL | {"model": "deepseek-v3"}, Offered()).question.simulated_setting
    found = desk.start(first)
    assert found.result is None and found.reason is None
    running = desk._running
    assert running is not None
    desk.close()
    assert running.process.returncode is not None
    assert not Path(running.folder.name).exists()
    assert desk.state(first) is None
