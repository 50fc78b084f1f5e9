"""A plan, for a person: the request, the plan, its speed, its rivals, its limits, and its basis."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwprofiles.units import format_bytes, format_duration
from rosin.commands.plan.layers import layer_table
from rosin.commands.plan.words import OBJECTIVE_WORDS, plan_words
from rosin.commands.simulate.page import (
    at_once,
    basis_lines,
    main_work,
    memory_table,
    resource_name,
    scenario_lines,
    speed_table,
    time_table,
    weakest_table,
)
from rosin.report.json_documents import PlanOffer, PlanResult, PlanRival
from rosin.report.tables import (
    format_count,
    format_share,
    misfit_table,
    name_column,
    number_column,
    plain_table,
    share_bar,
    text_column,
)
from sim.costs.cards import gpu_bytes
from sim.policies import POLICIES
from sim.step.metrics import Metrics
from sim.step.simulate import Run

SPEED_WORDS: Mapping[str, str] = {
    "throughput": "output tokens per second, prompt time included",
    "latency": "how soon the whole run ends",
    "ttft": "how soon the first token is there (TTFT)",
    "tpot": "how soon each further token is there",
    "cost": "what a dollar buys",
}
PRICE_WORDS: Mapping[str, tuple[str, str]] = {
    "end_to_end_s_per_gpu_memory_gb": ("GPU memory", "GB"),
    "end_to_end_s_per_dram_gb_per_s": ("host memory", "GB/s"),
    "end_to_end_s_per_h2d_gb_per_s": ("link", "GB/s"),
}
RULED_OUT_WORDS: Mapping[str, str] = {
    "memory": "by memory",
    "constraints": "as not asked for",
    "closed_form": "in closed form",
    "short_runs": "by short runs",
    "draws": "by whole runs",
}
"""Words for the counts of ``RuledOut``, in the order in which the search makes them."""
BAR_WIDTH = 12


def plan_page(run: Run, result: PlanResult) -> Iterator[RenderableType]:
    """The page of one plan, at most 80 columns."""
    yield Text("\n".join(scenario_lines(run.scenario)))
    yield Text("\n".join([*_asked(result), ""]))
    yield _words(run, result)
    yield Text()
    yield layer_table(run)
    yield Text()
    yield speed_table(run)
    yield from _draws(result)
    yield from _bounds(result)
    yield from _offers(result)
    yield Text()
    yield _rivals(run, result)
    yield Text(f"speed: by {SPEED_WORDS[result.objective]}", style="dim")
    yield from _marks(run, result)
    yield from _runner_up(result)
    yield from _misfits(result)
    yield Text("\n".join(["", f"What limits it: {_limit(result)}", *_more_of_it(result), ""]))
    yield time_table(result.time)
    yield Text(at_once(result.time), style="dim")
    yield Text()
    yield memory_table(result.memory, result.host_memory)
    yield Text()
    yield Text("\n".join(basis_lines(result.basis)))
    yield weakest_table(result.basis, result.time)
    yield Text()
    yield Text(_where(result))


def _asked(result: PlanResult) -> Iterator[str]:
    """Yield the goal, what was ruled out, and the constraints that the plan keeps to."""
    yield f"asked for: {OBJECTIVE_WORDS[result.objective]}; best of {result.num_tried} combinations"
    counts = asdict(result.num_ruled_out)
    ruled_out = [f"{counts[key]} {words}" for key, words in RULED_OUT_WORDS.items() if counts[key]]
    if ruled_out:
        yield f"ruled out: {', '.join(ruled_out)}"
    constraints = result.constraints
    kept = []
    if constraints.max_ttft_s is not None:
        kept.append(f"first token within {format_duration(constraints.max_ttft_s)}")
    if constraints.reserve_vram_bytes:
        kept.append(f"{format_bytes(constraints.reserve_vram_bytes)} of GPU memory left to others")
    if not constraints.is_lossless:
        kept.append("tokens may change")
    if kept:
        yield f"keeps to: {', '.join(kept)}"


def _draws(result: PlanResult) -> Iterator[Text]:
    """Yield the number of draws behind the means, their confidence interval, and the price of
    tokens.
    """
    if result.num_draws > 1 and result.end_to_end_half_width_s is not None:
        width = f"± {result.end_to_end_half_width_s / result.predicted.end_to_end_s:.2%}".replace(
            "%", " %"
        )
        yield Text(
            f"means over {result.num_draws} draws of the routing; the whole run {width} (95 % confidence)",
            style="dim",
        )
    if result.usd_per_million_output_tokens is not None:
        price = f"{result.usd_per_million_output_tokens:,.2f} USD for a million output tokens"
        yield Text(f"{price}, at {result.price_per_hour_usd:g} USD an hour")


def _offers(result: PlanResult) -> Iterator[RenderableType]:
    """Yield a table with the best plan of each offer, if there was a choice."""
    if not result.offers:
        return
    columns = [number_column(name) for name in ("tokens/s", "TTFT", "a token", "of the plan")]
    table = plain_table(name_column("Offered"), *columns, name_column("with"))
    for number, offer in enumerate(result.offers):
        style = "bold" if offer.is_chosen else None
        if offer.metrics is None or offer.speed_fraction is None:
            table.add_row(
                _offer_name(result, number), "", "", "", "", offer.reason or "", style=style
            )
        else:
            speed = format_share(offer.speed_fraction)
            table.add_row(
                _offer_name(result, number),
                *_speeds(offer.metrics),
                speed,
                offer.policy or "",
                style=style,
            )
    yield Text()
    yield table
    if len({offer.quantization for offer in result.offers}) > 1:
        yield Text(
            "answers differ with how weights are stored: only speed is simulated", style="dim"
        )
    tied = [
        _offer_name(result, number)
        for number, offer in enumerate(result.offers)
        if not offer.is_chosen and _is_told(offer) is False
    ]
    if tied:
        yield Text(
            f"the draws do not tell the plan from {', '.join(tied)}; what is named first goes first",
            style="dim",
        )


def _offer_name(result: PlanResult, number: int) -> str:
    """Return the values of an offer that tell it from the other offers."""
    offers = result.offers
    offer = result.offers[number]
    schemes = {other.quantization for other in offers}
    counts = {other.cpu_threads for other in offers}
    threads = f"{offer.cpu_threads} thread{'s' if offer.cpu_threads != 1 else ''}"
    kinds = {other.disk_reads for other in offers}
    return ", ".join(
        [
            *([offer.quantization] if len(schemes) > 1 else []),
            *([threads] if len(counts) > 1 else []),
            *([layout_words(offer.layers_by_card)] if offer.layers_by_card else []),
            *([f"{offer.disk_reads} reads"] if len(kinds) > 1 else []),
        ]
    )


def layout_words(layers_by_card: Sequence[int]) -> str:
    """Return in words on which cards the layers are: ``GPU 0 alone``, or ``20 + 16 layers``."""
    used = [card for card, count in enumerate(layers_by_card) if count]
    if len(used) == 1:
        return f"GPU {used[0]} alone"
    return f"{' + '.join(map(str, layers_by_card))} layers"


def _is_told(offer: PlanOffer) -> bool | None:
    """Return whether an offer differs from the plan by more than the draws vary.

    None: one draw cannot tell.
    """
    if offer.worse_fraction is None or offer.half_width_fraction is None:
        return None
    return abs(offer.worse_fraction) > offer.half_width_fraction


def _runner_up(result: PlanResult) -> Iterator[Text]:
    """Yield the best candidate that was not chosen, and whether the draws tell it from the plan."""
    second = result.runner_up
    if second is None:
        return
    width = second.half_width_fraction
    sure = "" if width is None else f" ± {width:.2%}".replace("%", " %")
    tied = (
        "; the draws do not tell them apart"
        if width is not None and abs(second.worse_fraction) <= width
        else ""
    )
    which = f" ({_offer_name(result, second.offer)})" if result.offers else ""
    worse = (
        f"{abs(second.worse_fraction):.2%}".replace("%", " %")
        + f"{sure} {'slower' if second.worse_fraction >= 0 else 'faster'}"
    )
    yield Text(f"next best: {second.policy}{which}, {worse}{tied}", style="dim")


def _words(run: Run, result: PlanResult) -> Table:
    table = plain_table(
        text_column("The plan", width=18), text_column(run.scenario.policy.name, width=61)
    )
    for topic, sentence in (*_choices(result), *plan_words(run)):
        table.add_row(topic, sentence)
    return table


def _choices(result: PlanResult) -> Iterator[tuple[str, str]]:
    """Yield the choices among the offers: format of the weights, CPU threads, and cards."""
    own = next((offer for offer in result.offers if offer.is_chosen), None)
    if own is None:
        return
    schemes, counts = (
        [*dict.fromkeys(values)]
        for values in zip(
            *((each.quantization, each.cpu_threads) for each in result.offers), strict=True
        )
    )
    if len(schemes) > 1:
        yield "weights", f"stored in {own.quantization}, of {', '.join(schemes)} that were offered"
    if len(counts) > 1:
        yield (
            "CPU threads",
            f"{own.cpu_threads}, of {', '.join(map(str, counts))} that there are rates for",
        )
    if own.layers_by_card:
        yield "cards", layout_words(own.layers_by_card)


def _bounds(result: PlanResult) -> Iterator[Text]:
    """Yield how near the plan is to the proven bounds."""
    within = [
        f"{format_share(max(gap, 0.0))} of {what}"
        for gap, what in (
            (result.gap_to_static_bound_fraction, "the best fixed placement"),
            (result.gap_to_clairvoyant_bound_fraction, "the best imaginable"),
        )
        if gap is not None
    ]
    if within:
        limits = ",\n".join(within)
        known = (
            "; that knows in advance what every token selects"
            if result.gap_to_clairvoyant_bound_fraction is not None
            else ""
        )
        yield Text(f"proven for the whole run: within {limits}{known}", style="dim")


def _rivals(run: Run, result: PlanResult) -> Table:
    columns = [
        number_column(name) for name in ("tokens/s", "TTFT", "a token", "of the plan's speed")
    ]
    table = plain_table(name_column("Compared with"), *columns, text_column("", width=BAR_WIDTH))
    table.add_row("this plan", *_speeds(run.metrics), *_share(1.0), style="bold")
    for rival in result.rivals:
        if rival.metrics is not None and rival.speed_fraction is not None:
            speed, *others = _speeds(rival.metrics)
            if rival.num_sampled_tokens is not None:
                speed = f"~{speed}"
            table.add_row(_marked(rival, run), speed, *others, *_share(rival.speed_fraction))
    return table


def _marked(rival: PlanRival, run: Run) -> str:
    marks = {
        "*": not rival.is_lossless,
        "+": rival.knows_future,
        "^": _spills(rival),
        "!": _overflows(rival, run),
    }
    return " ".join([rival.policy, *(mark for mark, is_due in marks.items() if is_due)])


def _spills(rival: PlanRival) -> bool:
    return rival.policy in POLICIES and POLICIES[rival.policy].dispatch.spills_residents


def _overflows(rival: PlanRival, run: Run) -> bool:
    return rival.metrics is not None and rival.metrics.peak_gpu_memory_bytes > gpu_bytes(
        run.scenario.machine, run.scenario.split
    )


def _marks(run: Run, result: PlanResult) -> Iterator[Text]:
    """Yield the meaning of the marks behind rivals, some of which are faster than the plan."""
    shown = [rival for rival in result.rivals if rival.metrics is not None]
    if any(not rival.is_lossless for rival in shown):
        yield Text("* lossy: its tokens differ from a plain forward pass", style="dim")
    if any(rival.knows_future for rival in shown):
        yield Text("+ decides by what is still to come: a limit, not a system", style="dim")
    if any(_spills(rival) for rival in shown):
        yield Text(
            "^ its idle CPU computes experts that the GPU holds, as no runtime does", style="dim"
        )
    if any(_overflows(rival, run) for rival in shown):
        yield Text(
            "! sets aside too little: it would need more GPU memory than there is", style="dim"
        )
    yield from _samples(run, shown)


def _samples(run: Run, rivals: Sequence[PlanRival]) -> Iterator[Text]:
    """Yield the number of tokens from which the figures of sampled rivals were estimated."""
    sampled = {rival.num_sampled_tokens for rival in rivals} - {None}
    for count in sampled:
        tokens = run.scenario.batch.output_tokens
        yield Text(
            f"~ not run whole: foretold from the first {count} of {tokens:,} output tokens",
            style="dim",
        )


def _speeds(metrics: Metrics) -> tuple[str, str, str]:
    per_token = format_duration(metrics.tpot_s) if metrics.tpot_s else "none"
    return format_count(metrics.output_tokens_per_s), format_duration(metrics.ttft_s), per_token


def _share(fraction: float) -> tuple[str, str]:
    return format_share(fraction), share_bar(min(1.0, fraction), BAR_WIDTH)


def _misfits(result: PlanResult) -> Iterator[RenderableType]:
    misfits = [rival for rival in result.rivals if rival.reason is not None]
    if misfits:
        yield Text()
        yield misfit_table("Does not fit", misfits)


def _limit(result: PlanResult) -> str:
    busiest = next(time for time in result.time if time.resource == result.binding_resource)
    return f"{resource_name(busiest.resource)}, busy for {format_share(busiest.busy_fraction)} of the run with {main_work(busiest)}"


def _more_of_it(result: PlanResult) -> Iterator[str]:
    """Yield the time that a little more of each resource would save.

    The bound's prices give it for the best fixed placement, and a simulation for this plan.
    """
    for prices, whom in (
        (result.shadow_prices, "the best fixed placement"),
        (result.resimulated_prices, "this plan, simulated anew"),
    ):
        known = {
            key: price for key, price in (prices or {}).items() if price is not None and price < 0
        }
        saved = [
            f"{what} {format_duration(-known[key])} a {unit}"
            for key, (what, unit) in PRICE_WORDS.items()
            if key in known
        ]
        if saved:
            yield f"A little more of each would save {whom}:\n{', '.join(saved)}"


def _where(result: PlanResult) -> str:
    if result.path is None:
        return "Not written anywhere: name a file with -o to keep it."
    return f"Written to {result.path}. It runs again with\n{result.command}"
