"""Laws of the page's links: what is written is read again, and anything else is said by field."""

from urllib.parse import parse_qsl

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.runtimes.search import WAYS
from rosin.report.sliders import LOAD_NUMBERS, PC_NUMBERS
from rosin.web.question import MAX_MOVED, Offered, PageQuestion, read_question
from sim.model.library import model_names

OFFERED = Offered()
MACHINES = ("RTX 4080 + Ryzen 9 7950X + 2x32GB DDR5-4800", "RTX 3090 + EPYC 7302", "h100")
FIELDS = ("machine", "model", "quantization", "runtime", "other", "upgrades")
NUMBERS = tuple(number.name for number in (*PC_NUMBERS, *LOAD_NUMBERS))


@st.composite
def questions(draw: st.DrawFn) -> PageQuestion:
    """A state of the page; numbers have as many digits as its fields show."""
    moved = {
        number.name: draw(st.none() | st.integers(1, 9999).map(float)) for number in PC_NUMBERS
    }
    return PageQuestion(
        machine=draw(st.sampled_from(MACHINES)),
        model=draw(st.sampled_from(model_names()[:20])),
        quantization=draw(st.sampled_from(("Q4_K_M", "Q8_0", "4bit"))),
        runtime=draw(st.sampled_from(sorted(WAYS))),
        prompt_tokens=draw(st.integers(1, 100_000)),
        output_tokens=draw(st.integers(1, 10_000)),
        room_tokens=draw(st.none() | st.integers(1, 100_000)),
        batch_size=draw(st.integers(1, 16)),
        upgrades=draw(st.sampled_from(("", "RTX 5090=2000"))),
        **moved,
    )


def _said(question: PageQuestion) -> dict[str, str]:
    return dict(parse_qsl(question.link))


@given(questions())
@settings(max_examples=25)
def test_a_link_is_its_page(question: PageQuestion) -> None:
    """Read again, the link is the same question, but for numbers that are the PC's own."""
    read = read_question(_said(question), OFFERED)
    assert read.problems == {}
    again = read.question
    for name in (*FIELDS, *(number.name for number in LOAD_NUMBERS)):
        assert getattr(again, name) == getattr(question, name), name
    assert set(again.moved) <= set(question.moved)
    assert all(question.moved[name] == value for name, value in again.moved.items())
    assert read_question(_said(again), OFFERED).question == again


@given(
    st.dictionaries(st.sampled_from((*FIELDS, *NUMBERS, "numbers_of", "x")), st.text(max_size=30))
)
@settings(max_examples=60)
def test_any_link_is_a_page(said: dict[str, str]) -> None:
    """Nothing is raised: what is wrong stands beside its field in one line."""
    read = read_question(said, OFFERED)
    assert set(read.problems) <= {*FIELDS, *NUMBERS}
    for problem in read.problems.values():
        assert "\n" not in problem
        assert len(problem) < 400
    assert read.question.prompt_tokens >= 1
    assert all(0 < value <= MAX_MOVED for value in read.question.moved.values())


@given(st.sampled_from(NUMBERS), st.sampled_from(["nan", "inf", "-1", "0", "1e99", "x", "1 000"]))
@settings(max_examples=40)
def test_numbers_that_are_none_stand_beside_their_field(name: str, text: str) -> None:
    """And the field is left as the page is at first."""
    read = read_question({name: text}, OFFERED)
    assert set(read.problems) <= {name}
    if name in read.problems:
        assert "number" in read.problems[name]
    first = read_question({}, OFFERED).question
    assert read.question == first


@given(questions(), st.sampled_from(MACHINES))
@settings(max_examples=20)
def test_numbers_of_another_pc_are_left_out(question: PageQuestion, other: str) -> None:
    """They belong to the PC that they were moved on."""
    said = _said(question) | {"numbers_of": other}
    read = read_question(said, OFFERED)
    assert read.has_new_machine == (other != question.machine)
    if read.has_new_machine:
        assert read.question.moved == {}
