"""Every format that Rosin reads as text or as arrays: good files to start from, and what reads
them.
"""

import io
import json
from itertools import islice
from pathlib import Path

import numpy as np
import yaml

from hwprofiles import load_machine, machine_names
from planner.export.kv import KV_EXPORTERS, lmcache_config, load_lmcache
from planner.search.objectives import Goal
from planner.search.plan import Plan, Setting, load_plan, plan_to_data
from planner.serving.kv_tiers import load_kv_tiers, parse_kv_tiers
from planner.study.axes import parse_axes
from planner.study.prices import load_prices
from sim.model.library import load_model
from sim.policies import POLICIES
from sim.routing import import_trace, load_routing
from sim.routing.library import load_spec as load_routing_spec
from sim.routing.library import shipped_names, shipped_spec
from sim.serving.setting import serving_setting
from sim.serving.spec import load_serving
from sim.workload.requests import load_requests, read_trace
from tests.fuzz.format import Format
from tests.fuzz.results import results
from tests.fuzz.uses import uses
from tests.source_tree import ROOT

NUM_REQUESTS = 50


def _yaml(*data: object) -> list[bytes]:
    return [yaml.safe_dump(each, sort_keys=False).encode() for each in data]


def _jsonl(*rows: object) -> list[bytes]:
    return ["\n".join(map(json.dumps, rows)).encode()]


def _plans() -> list[bytes]:
    setting = Setting(model="mixtral-8x7b", machine="h100", prompt_tokens=8, output_tokens=4)
    others = {
        "predicted": {"ttft_s": 1.0},
        "bounds": {},
        "binding_resource": "gpu",
        "provenance": {},
        "version": "0",
    }
    plans = (
        Plan(setting=setting, goal=Goal(), policy=policy, **others) for policy in POLICIES.values()
    )  # type: ignore[arg-type]
    return _yaml(*map(plan_to_data, plans))


def _machines() -> list[bytes]:
    return [
        (ROOT / "hwprofiles" / "machines" / f"{name}.yaml").read_bytes() for name in machine_names()
    ]


def _routings() -> list[bytes]:
    paths = (shipped_spec(name) for name in shipped_names())
    return [path.read_bytes() for path in paths if path is not None]


def _archive() -> bytes:
    buffer = io.BytesIO()
    ids = np.arange(48, dtype=np.int16).reshape(6, 2, 4) % 8
    np.savez_compressed(
        buffer,
        expert_ids=ids,
        sequence_num_tokens=np.array([2, 4]),
        num_experts=np.array(8),
        token_ids=np.arange(6),
    )
    return buffer.getvalue()


def _served(path: Path) -> None:
    serving_setting(
        load_serving(path, {}, {}), load_machine("h100-x8"), load_model("mixtral-8x7b"), str(path)
    )


def _requested(path: Path) -> None:
    list(islice(load_requests(str(path)).requests(), NUM_REQUESTS))


def _traced(path: Path) -> None:
    list(islice(read_trace(path), NUM_REQUESTS))


def _exported(path: Path) -> None:
    tiers = load_kv_tiers(path)
    for export in KV_EXPORTERS.values():
        export(tiers)


TIERS = {
    "format": "rosin-kv/1",
    "name": "a",
    "host_bytes_per_rank": "60GiB",
    "policy": "lru",
    "num_ranks": 2,
    "chunk_tokens": 256,
}
PLACES = {
    "disk": {"path": "/mnt/kv", "bytes_per_rank": 1e12},
    "remote": {"url": "redis-sentinel://a:1,b:2", "serde": "naive"},
}
PEER = {"host": "a", "init_ports": [1, 2], "alloc_ports": [3, 4]}
RECEIVER = {
    "disaggregation": {
        "role": "receiver",
        "buffer_bytes": 5e9,
        "buffer_device": "cpu",
        "peer": PEER,
    }
}
SERVER = {"runs_in": "server", "server": {"host": "a", "port": 5}, "policy": "arc"}
LINK = {"bytes_per_s": 1e9, "latency_ns": 5e3, "kind": "assumed", "source": "a", "date": "2026"}
INSTANCE = {
    "num_gpus": 2,
    "max_step_tokens": 2048,
    "max_sequences": 64,
    "block_tokens": 16,
    "kv_tokens": 10_000,
    "all_reduce": LINK,
}
CPU = {
    "name": "cpu",
    "capacity_bytes": "64GiB",
    "policy": "lru",
    "compression": {"factor": 2.0, "encode_bytes_per_s": 1e9},
}
STORE = {"name": "remote", "read": LINK, "write": LINK, "is_shared": True}
OFFLOAD = {
    "mode": "in-process",
    "loading": "always",
    "chunk_tokens": 256,
    "pins": [{"tokens": 300}],
    "blend": {"recompute_fraction": 0.2},
}
SERVING = {
    "format": "rosin-serving/1",
    "num_instances": 2,
    "instance": INSTANCE,
    "tiers": [CPU, STORE],
    "offload": OFFLOAD,
}
APART = {
    "format": "rosin-serving/1",
    "disaggregation": {"num_prefill": 1, "num_decode": 1, "link": LINK, "buffer_bytes": 1e9},
}
HEAD = {
    "format": "rosin-requests/1",
    "name": "a",
    "source": "b",
    "date": "2026-01-01",
    "num_requests": 20,
}
ROUNDS = {
    "num_users": 3,
    "num_rounds": 4,
    "system_tokens": 10,
    "history_tokens": 20,
    "question_tokens": 5,
    "answer_tokens": 7,
}
REQUESTS = [
    HEAD
    | {
        "multi_round": ROUNDS
        | {"requests_per_s": 2.0, "num_warmup_users": 2, "warmup_requests_per_s": 1.0}
    },
    HEAD
    | {
        "lengths": {"prompt_tokens": 5, "output_tokens": 3},
        "arrivals": {"process": "poisson", "requests_per_s": 3.0},
    },
    HEAD
    | {
        "lengths": {"prompt_tokens": 5, "output_tokens": 3},
        "arrivals": {"process": "closed", "in_flight": 2},
    },
    HEAD
    | {
        "lengths": {"prompt_tokens": 5, "output_tokens": 3},
        "arrivals": {"process": "gamma", "requests_per_s": 3.0, "shape": 0.5},
    },
]
PRICES = {
    "format": "rosin-prices/1",
    "base_usd": 500,
    "batch": {"1": 5, "2": 6.5},
    "machine": {"h100": 30_000, "h200": 40_000},
}
AXES = parse_axes(["batch=1,2", "machine=h100,h200"])
AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
LENGTHS = b"arrival_s,prompt_tokens,output_tokens\n0.0,10,5\n1.5,20,6\n"
ROUTED = b"sequence,token,layer,rank,expert,weight\n0,0,0,0,1,0.5\n0,0,0,1,2,0.5\n0,1,0,0,0,0.6\n0,1,0,1,3,0.4\n"
BY_LAYER = b"# a\ntoken,layer,topk_ids\n0,0,1 2\n0,1,3 4\n"
LOGGED = [
    {"type": "meta", "top_k": 2},
    *({"layer": layer, "token_idx": 0, "topk_ids": [1, 2]} for layer in range(2)),
]
RESPONSE = {
    "prompt_routed_experts": [[[1, 2]], [[-1, -1]]],
    "choices": [{"routed_experts": [[[0, 3]]]}],
}
TOKEN = {
    "expert_ids": [[1, 2], [3, 4]],
    "gate_weights": [[0.5, 0.5], [0.6, 0.4]],
    "token_ids": 5,
    "request_id": "a",
}
BLOCKS = {"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [0, 1]}
BENCH = {
    "input_lens": [10, 20],
    "output_lens": [5, 0],
    "start_times": [1.5, 1.0],
    "errors": ["", "e"],
}
METRICS = {
    f"{each}_sequence_length": {"value": 5, "unit": "tokens"} for each in ("input", "output")
}
EXPORTED = {
    "metadata": {"request_start_ns": 17, "benchmark_phase": "profiling"},
    "metrics": METRICS,
    "error": None,
}
CHATS = BLOCKS | {"chat_id": 1, "input_length": 30}
BURST = b"Timestamp,Model,Request tokens,Response tokens\n5,ChatGPT,472,18\n45,GPT-4,10,0\n"
LOOKUPS = {"timestamp": 1.5, "seq_len": 600, "chunk_size": 256, "chunk_hashes": ["0xab", "0xcd"]}


def formats() -> list[Format]:
    """All of them."""
    explicit = load_model("granite-3-1b-a400m", "4bit")
    models = [
        (ROOT / "sim" / "model" / "models" / f"{name}.yaml").read_bytes()
        for name in ("mixtral-8x7b", "gpt-oss-20b", "deepseek-v3")
    ]
    config = json.dumps(yaml.safe_load(models[0])["config"]).encode()
    counts = json.dumps(
        {"counts_layer_expert": [[1, 2, 3], [4, 5, 6]], "source": "a", "date": "2024"}
    ).encode()
    return [
        Format(
            name="machine",
            suffix=".yaml",
            seeds=_machines(),
            read=lambda path: load_machine(str(path)),
        ),
        Format(name="model", suffix=".yaml", seeds=models, read=lambda path: load_model(str(path))),
        Format(
            name="configuration",
            suffix=".json",
            seeds=[config],
            read=lambda path: load_model(str(path)),
        ),
        Format(name="plan", suffix=".yaml", seeds=_plans(), read=load_plan),
        Format(
            name="prices",
            suffix=".yaml",
            seeds=_yaml(PRICES),
            read=lambda path: load_prices(path, AXES),
        ),
        Format(
            name="tiers",
            suffix=".yaml",
            seeds=_yaml(TIERS | PLACES, TIERS | RECEIVER, TIERS | SERVER),
            read=_exported,
        ),
        Format(
            name="configuration of LMCache",
            suffix=".yaml",
            seeds=_yaml(lmcache_config(parse_kv_tiers(TIERS | PLACES, "here"))),
            read=lambda path: load_lmcache(path, 2),
        ),
        Format(name="serving", suffix=".yaml", seeds=_yaml(SERVING, APART), read=_served),
        Format(name="requests", suffix=".yaml", seeds=_yaml(*REQUESTS), read=_requested),
        Format(name="Mooncake trace", suffix=".jsonl", seeds=_jsonl(BLOCKS, BLOCKS), read=_traced),
        Format(name="Bailian trace", suffix=".jsonl", seeds=_jsonl(CHATS, CHATS), read=_traced),
        Format(name="result of vllm bench", suffix=".json", seeds=_jsonl(BENCH), read=_traced),
        Format(
            name="export of AIPerf", suffix=".jsonl", seeds=_jsonl(EXPORTED, EXPORTED), read=_traced
        ),
        Format(
            name="JSON of lengths",
            suffix=".json",
            seeds=_jsonl([{"prompt_len": 5, "output_len": 3}]),
            read=_traced,
        ),
        Format(name="BurstGPT trace", suffix=".csv", seeds=[BURST], read=_traced),
        Format(name="lookup log", suffix=".jsonl", seeds=_jsonl(LOOKUPS, LOOKUPS), read=_traced),
        Format(
            name="list of lengths",
            suffix=".jsonl",
            seeds=_jsonl({"prompt_tokens": 5, "output_tokens": 2, "arrival_s": 1.5}),
            read=_traced,
        ),
        Format(name="table of lengths", suffix=".csv", seeds=[LENGTHS], read=_traced),
        Format(name="Azure trace", suffix=".csv", seeds=[AZURE], read=_traced),
        Format(
            name="routing",
            suffix=".yaml",
            seeds=_routings(),
            read=lambda path: load_routing_spec(path).routing(),
        ),
        Format(
            name="popularity",
            suffix=".json",
            seeds=[counts],
            read=lambda path: load_routing(f"popularity:{path}", explicit),
        ),
        Format(name="routing table", suffix=".csv", seeds=[ROUTED], read=import_trace),
        Format(name="routing log", suffix=".jsonl", seeds=_jsonl(*LOGGED), read=import_trace),
        Format(name="routing table by layer", suffix=".csv", seeds=[BY_LAYER], read=import_trace),
        Format(name="routing response", suffix=".jsonl", seeds=_jsonl(RESPONSE), read=import_trace),
        Format(
            name="routing lines", suffix=".jsonl", seeds=_jsonl(TOKEN, TOKEN), read=import_trace
        ),
        Format(name="routing arrays", suffix=".npz", seeds=[_archive()], read=import_trace),
        *uses(),
        *results(),
    ]
