"""One request by itself takes the same at the step scale and at the serving scale."""

import pytest

from hwprofiles import load_machine
from sim.costs.memory import Infeasible
from sim.model.library import load_model
from sim.policies import find_policy
from sim.routing import load_routing
from sim.serving import InstanceOptions, OpenLoop, ServingSetting, prepare, serve
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from sim.workload.requests.request import Request, Span

MACHINES = ("h100", "h200", "a100-80", "b200", "desktop-rtx-4090-ddr5", "desktop-rtx-5090-ddr5")
MODELS = {
    "qwen3-30b-a3b": "4bit",
    "gpt-oss-20b": "mxfp4",
    "olmoe-1b-7b": "16bit",
    "deepseek-v2-lite": "8bit",
}
BATCH = Batch(prompt_tokens=512, output_tokens=33)
TOLERANCE = 0.05
"""A batch draws which experts tokens select; the serving scale takes the expectation of even
choices.
"""


@pytest.mark.slow
@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("machine_name", MACHINES)
def test_both_scales_agree_on_one_request(machine_name: str, model_name: str) -> None:
    """Time to first token and per further token, all on the GPU, within 5 %."""
    machine, model = load_machine(machine_name), load_model(model_name, MODELS[model_name])
    routing = load_routing("uniform", model)
    policy = find_policy("all-on-gpu")
    run = simulate(
        Scenario(machine=machine, model=model, batch=BATCH, policy=policy, routing=routing)
    )
    cluster = prepare(ServingSetting(machine=machine, model=model, instance=InstanceOptions()))
    if isinstance(run, Infeasible) or isinstance(cluster, Infeasible):
        pytest.skip(f"{model_name} does not fit {machine_name}")
    prompt = (Span(content=1, num_tokens=BATCH.prompt_tokens),)
    request = Request(number=0, arrival_ns=0, prompt=prompt, output_tokens=BATCH.output_tokens)
    served = serve(cluster, OpenLoop(requests=iter([request]))).metrics
    assert isinstance(run, Run)
    assert served.ttft_s.mean == pytest.approx(run.metrics.ttft_s, rel=TOLERANCE)
    assert served.tpot_s.mean == pytest.approx(run.metrics.tpot_s, rel=TOLERANCE)
