"""What commands write with --json, read again by `rosin report`: what a page is made of, without
those that run a plan again.
"""

import json
from pathlib import Path

from rosin.commands.report.pages import page_of
from tests.fuzz.format import Format

METRICS = {"output_tokens_per_s": 20.5, "ttft_s": 0.5, "tpot_s": 0.05, "expert_hit_rate": 0.75}
PLACE = {"model": "mixtral-8x7b", "machine": "h100"}
POINT = {
    "values": {"link.h2d.bytes_per_s": 5e9, "batch": 2, "model": "mixtral-8x7b"},
    "is_feasible": True,
    "policy": "fiddler",
    "metrics": METRICS | {"end_to_end_s": 3.5},
    "bounds": {"static_bound_s": 3.0},
}
MISFIT = {"values": {}, "is_feasible": False, "policy": None, "metrics": {}, "reason": "too large"}
STUDY = {
    "command": "rosin whatif",
    "setting": PLACE,
    "objective": "throughput",
    "axes": [{"path": "batch", "values": [1, 2]}],
    "rows": [POINT, MISFIT, POINT],
    "sensitivities": [
        {
            "path": "link.h2d.bytes_per_s",
            "base_value": 25e9,
            "low_gain_fraction": -0.1,
            "high_gain_fraction": None,
        }
    ],
    "files": ["table.csv"],
    "warnings": ["an assumption"],
}
COMPARED = {"policy": "lru", "metrics": METRICS, "is_lossless": True, "knows_future": False}
COMPARISON = {
    "scenario": {"command": "rosin compare", "quantization": "4bit", "setting": PLACE},
    "rows": [COMPARED],
    "infeasible": [{"policy": "all-on-gpu", "reason": "too large", "missing_bytes": 10}],
    "warnings": [],
}
ERROR = {"median": 0.02, "p90": 0.1}
VALIDATION = {
    "model": "tiny",
    "error_fraction": {"paired": ERROR, "absolute": ERROR, "plain": ERROR},
    "plans": [{"name": "lru", "measured_s": 0.5, "noise_fraction": None}],
}
CLAIM = {
    "paper": "Fiddler",
    "figure": "Figure 4",
    "published": "1.26 times",
    "simulated": "1.19 times",
    "off_fraction": 0.06,
    "because": "",
    "assumed": "one sequence",
}
REPRODUCTION = {
    "title": "Fiddler",
    "targets": [{"name": "a", "is_met": True}, {"name": "b", "is_met": None}],
    "claims": [{**CLAIM, "verdict": "confirmed"}, {**CLAIM, "verdict": "open"}],
    "tables": [{"title": "t", "assumptions": "none", "cells": [{"row": "r", "value_s": 1.5}]}],
    "warnings": [],
}


def results() -> list[Format]:
    """All of them, as one format."""
    seeds = [json.dumps(each).encode() for each in (STUDY, COMPARISON, VALIDATION, REPRODUCTION)]
    return [Format(name="result, shown", suffix=".json", seeds=seeds, read=_page)]


def _page(path: Path) -> str:
    return page_of(path, ()).html()
