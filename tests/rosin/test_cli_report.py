"""`rosin report`: one page that says the answer first, needs nothing from outside, and can be read
by machines for people who do not see it.
"""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hwprofiles import load_machine
from rosin.__main__ import main
from rosin.commands.report.pages import page_of
from rosin.report.html.run_sections import hits_by_layer
from sim.policies import find_policy
from sim.routing import load_routing
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.fuzz.results import STUDY
from tests.rosin.scenarios import SMALL, json_of
from tests.sim.small import MODELS, small_machine

CHROMIUM = shutil.which("chromium")
BROWSER = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
    "--dump-dom",
)
AXE_RUN = """
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const serious = found.violations.filter(v => ["serious", "critical"].includes(v.impact));
  document.title = "axe:" + JSON.stringify(serious.map(v => v.id + " " + v.nodes[0].html));
}, error => { document.title = "axe:" + JSON.stringify([String(error)]); });
"""
Made = Callable[..., str]


@pytest.fixture
def page(tmp_path: Path) -> Made:
    """Makes the page of a command's result; returns its text."""

    def made(*arguments: str) -> str:
        result, target = tmp_path / "result.json", tmp_path / "page.html"
        assert main([*arguments, "--quiet", "--json", str(result)]) == 0
        assert main(["report", str(result), "-o", str(target), "--quiet"]) == 0
        return target.read_text(encoding="utf-8")

    return made


@pytest.mark.parametrize(("objective", "batch"), [("throughput", 4), ("ttft", 1)])
def test_the_best_point_of_a_study_is_best_for_its_objective(
    objective: str, batch: int, page: Made, tmp_path: Path
) -> None:
    """More sequences at once are faster in all, and their first token comes later."""
    study = ("whatif", *SMALL, "--vary", "batch=1,4", "--objective", objective, "--workers", "1")
    text = page(*study, "--no-bounds", "-o", str(tmp_path / "study"))
    assert re.search(rf"The best of 2 points for {objective} is at [^:]*\b{batch}: ", text)


class _Outline(HTMLParser):
    """Tags with their attributes, in order; complains about what is not closed."""

    EMPTY = frozenset({"meta", "input", "path", "rect", "use", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def outline(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """The tags of a page."""
    parser = _Outline()
    parser.feed(text)
    return parser.tags


def test_the_answer_and_the_command_come_first(page: Made) -> None:
    """Before the first section stand the speed in a sentence and what to paste."""
    text = page("simulate", *SMALL, "--policy", "fiddler")
    first = text.partition("<main>")[2].partition("<section")[0]
    assert re.search(r"fiddler reaches [\d.]+ tokens/s", first)
    assert "rosin simulate --policy fiddler --model mixtral-8x7b" in first
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
    for title in (
        "Speed",
        "Where time goes",
        "Memory",
        "Where experts are",
        "One decode step, task by task",
        "Hit rates by layer",
        "What it rests on",
        "How to repeat it",
    ):
        assert title in titles


def test_figures_are_those_of_the_command(page: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The page runs the result again and shows the same digest and speed."""
    text = page("simulate", *SMALL, "--policy", "fiddler")
    data = json_of(capsys, "simulate", *SMALL, "--policy", "fiddler")
    assert data["timeline_digest"] in text
    assert f"{data['metrics']['output_tokens_per_s']:.3g} tokens/s" in text


def test_a_page_needs_nothing_from_outside(page: Made) -> None:
    """No address is loaded, and the page itself forbids it."""
    text = page("simulate", *SMALL, "--policy", "fiddler")
    for tag, attributes in outline(text):
        assert not {"src", "href", "srcset", "action"} & attributes.keys(), tag
    assert "default-src 'none'" in text and "url(" not in text and "@import" not in text


def test_charts_have_words(page: Made) -> None:
    """Each chart has a name, each section a heading, and what scrolls takes the keyboard."""
    tags = outline(page("compare", *SMALL, "--policies", "fiddler,daop,belady"))
    charts = [attributes for tag, attributes in tags if tag == "svg"]
    assert charts and all(each["role"] == "img" and each["aria-label"] for each in charts)
    names = {attributes.get("id") for tag, attributes in tags if tag == "h2"}
    for tag, attributes in tags:
        if tag == "section":
            assert attributes["aria-labelledby"] in names
        if attributes.get("class") in ("scroll", "stretch"):
            assert attributes["tabindex"] == "0"
            assert attributes["role"] == "region" and attributes["aria-label"]


def test_lossy_and_foretelling_policies_are_marked(page: Made) -> None:
    """A reader sees which rows are not to be taken for equals."""
    text = page("compare", *SMALL, "--policies", "fiddler,daop,belady")
    assert "daop *" in text and "belady †" in text and "fiddler *" not in text


def test_the_same_result_gives_the_same_page(page: Made) -> None:
    """Nothing in it is of the hour."""
    arguments = ("simulate", *SMALL, "--policy", "fiddler")
    assert page(*arguments) == page(*arguments)


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    """What a file calls itself cannot become part of the page."""
    row = {
        "policy": "<script>alert(1)</script>",
        "metrics": {
            "output_tokens_per_s": 1.0,
            "ttft_s": 1.0,
            "tpot_s": 1.0,
            "expert_hit_rate": 0.5,
        },
        "is_lossless": True,
        "knows_future": False,
    }
    data = {
        "rows": [row],
        "infeasible": [],
        "warnings": ["<b>"],
        "scenario": {
            "setting": {"model": "<i>m", "machine": "h"},
            "quantization": "q",
            "command": "rosin <x>",
        },
    }
    path = tmp_path / "made.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    text = page_of(path, ()).html()
    assert "<script>alert" not in text and "<i>m" not in text and "<b>" not in text


def test_a_figure_that_no_file_can_be_is_left_out(tmp_path: Path) -> None:
    """A study's result names its figures; of a name longer than files have, nothing is shown."""
    path = tmp_path / "study.json"
    named = page_of(_written({**STUDY, "files": ["x" * 5000 + ".svg"]}, path), ()).html()
    assert named == page_of(_written(STUDY, path), ()).html()


def _written(data: object, path: Path) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"axes": []}, "key command is missing"),
        ({"infeasible": 1}, "key scenario is missing"),
        ({"plan": 3}, "plan: write a mapping with the keys setting, policy, got 3"),
        ({"timeline_digest": 1}, "key scenario is missing"),
        ({"plans": [1]}, "key plans must be a list of objects"),
        ({"plans": [{"name": [], "p": None}]}, "key plans has no words and no numbers to show"),
        ({"summary": [{}], "tables": [1]}, "tables.0: write a mapping"),
    ],
)
def test_damaged_results_are_one_line(
    data: object, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A result without what its page needs: the line names the file and the key."""
    source = tmp_path / "damaged.json"
    source.write_text(json.dumps(data), encoding="utf-8")
    assert main(["report", str(source), "-o", str(tmp_path / "page.html")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"damaged.json: {fault}" in err


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("missing.json", "page.html", "missing.json"),
        ("other.json", "page.html", "no result that a page is made of"),
        ("empty", "page.html", "no result is in it"),
        ("other.json", "page.txt", "must end in .html"),
    ],
)
def test_mistakes(
    source: str,
    target: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, exit code 2, and no page."""
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text('{"something": 1}', encoding="utf-8")
    Path("empty").mkdir()
    assert main(["report", source, "-o", target]) == 2
    assert words in capsys.readouterr().err and not Path(target).exists()


@pytest.mark.parametrize("name", ["fiddler", "lru", "moe-infinity", "llama.cpp", "moe-lightning"])
def test_hits_by_layer_add_up(name: str) -> None:
    """Weighted by the selections of each layer they are the run's hit rate."""
    model = MODELS["plain"]
    batch = Batch(prompt_tokens=9, output_tokens=4)
    routed = sum(layer.num_experts * layer.expert_bytes for layer in model.layers)
    machine = small_machine(model.non_expert_bytes + 0.5 * routed + 2**20)
    run = simulate(
        Scenario(
            machine=machine,
            model=model,
            batch=batch,
            policy=find_policy(name),
            routing=load_routing("uniform", model),
        )
    )
    if not isinstance(run, Run):
        pytest.skip("it does not fit this small machine")
    layers = list(model.moe_layers)
    weights = run.tokens.sum(axis=(0, 2))[layers]
    mean = (hits_by_layer(run) * weights).sum() / weights.sum()
    assert mean == pytest.approx(run.metrics.expert_hit_rate)


def _dom(path: Path) -> tuple[str, str]:
    """The page as a browser has it after its scripts ran, and what it logged."""
    assert CHROMIUM is not None
    finished = subprocess.run(
        [CHROMIUM, *BROWSER, f"--user-data-dir={path.parent / 'profile'}", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return finished.stdout, finished.stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, as Debian packages it")
def test_a_browser_finds_no_fault(page: Made, tmp_path: Path) -> None:
    """No error on the console, and no serious fault for people who use a keyboard or a reader."""
    axe = pytest.importorskip("axe_core_python", reason="needs axe-core-python")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    text = page("simulate", *SMALL, "--policy", "fiddler")
    checked = text.replace("</body>", f"<script>{script}\n{AXE_RUN}</script></body>")
    path = tmp_path / "checked.html"
    path.write_text(checked, encoding="utf-8")
    dom, log = _dom(path)
    assert "CONSOLE" not in log
    title = re.search(r"<title>axe:(.*?)</title>", dom, re.S)
    assert title is not None and json.loads(title[1]) == []


RUNTIME_PLAN = (
    *("plan", "--runtime", "llama.cpp", "--model", "qwen3-30b-a3b", "--quantization", "Q4_K_M"),
    *("--machine", "RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800"),
)


def test_sliders_hold_the_planners_own_numbers(
    page: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every position is a row of a table; one in the middle is the plan, others what --set plans."""
    text = page(*RUNTIME_PLAN)
    assert text.count("data-rows") == 2 + 1  # two sliders, and the script that moves them
    own = json_of(capsys, *RUNTIME_PLAN)
    memory = own["plan"]["setting"]["machine"]
    machine = load_machine(memory)
    half = f"gpu.memory_bytes={machine.gpu.memory_bytes.effective / 2:.0f}"
    moved = json_of(capsys, *RUNTIME_PLAN, "--set", half)
    for plan in (own, moved):
        decode = plan["predicted"]["decode"]
        low, high = (f"{decode[f'{end}_tokens_per_s']:.0f}" for end in ("low", "high"))
        assert f"{decode['tokens_per_s']:.0f} ({low}–{high})" in text
        assert html.escape(plan["command_line"]) in text


@pytest.mark.parametrize(
    ("runtime", "scheme"),
    [
        ("llama.cpp", "Q4_K_M"),
        ("ik_llama.cpp", "Q4_K_M"),
        ("ktransformers", "Q4_K_M"),
        ("vllm", "AWQ"),
    ],
)
def test_a_runtimes_plan_file_makes_the_same_page(
    runtime: str, scheme: str, page: Made, tmp_path: Path
) -> None:
    """The file alone says what the page of --json says: its arguments are priced again."""
    options = ("--runtime", runtime, "--rounds", "2", "--reserve-ram", "6GB", *RUNTIME_PLAN[3:5])
    options += ("--quantization", scheme, *RUNTIME_PLAN[7:])
    file, target = tmp_path / "plan.yaml", tmp_path / "of-the-file.html"
    of_json = page("plan", *options, "-o", str(file))
    assert main(["report", str(file), "-o", str(target), "--quiet"]) == 0
    assert target.read_text(encoding="utf-8") == of_json


def test_a_runtimes_plan_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file whose machine was made smaller says by how much, and no page is written."""
    file, target = tmp_path / "plan.yaml", tmp_path / "page.html"
    assert main([*RUNTIME_PLAN, "-o", str(file), "--quiet"]) == 0
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("RTX 4080", "RTX 3060"), encoding="utf-8")
    capsys.readouterr()
    assert main(["report", str(file), "-o", str(target)]) == 2
    error = capsys.readouterr().err
    assert "does not fit this machine: llama.cpp needs" in error and "more than gpu0" in error
    assert error.count("\n") == 1 and not target.exists()


def test_a_page_of_claims_says_how_many_hold(tmp_path: Path) -> None:
    """`reproduce all` has verdicts alone: they are counted, and stand in a table."""
    claim = {"paper": "A", "figure": "speed", "published": "1 x", "simulated": "2 x"}
    rows = [claim | {"verdict": verdict} for verdict in ("open", "confirmed", "confirmed")]
    source = tmp_path / "all.json"
    source.write_text(json.dumps({"title": "All", "claims": rows, "targets": [], "tables": []}))
    page = page_of(source, ())
    assert page.answer == "Of 3 claims 2 confirmed, 1 open."
    assert page.title == "All"
    [section] = page.sections
    assert section.body.count("confirmed") == 2 and "paper A" in section.lead


def test_a_folder_of_a_study_names_its_best_point(tmp_path: Path) -> None:
    """Without JSON the table says what was varied, and which point answers fastest."""
    (tmp_path / "map.svg").write_text("<svg></svg>")
    (tmp_path / "table.csv").write_text(
        "batch,price_usd,is_feasible,policy,output_tokens_per_s,ttft_s,tpot_s,expert_hit_rate\n"
        "1,,True,lru,10.0,0.1,0.1,0.5\n"
        "4,,True,fiddler,25.0,0.2,0.1,0.5\n"
        "9,,False,,,,,\n"
    )
    page = page_of(tmp_path, ())
    assert (
        page.answer
        == "The best of 2 points for throughput is at batch 4: 25.0 tokens/s with fiddler."
    )
    assert "neither the command" in page.warnings[0]
