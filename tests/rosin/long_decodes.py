"""Long answers under every named system: the most memory and the processor time of the command.

python -m tests.rosin.long_decodes --output-tokens 20000
"""

import argparse
import subprocess

from sim.policies import POLICIES
from tests.rosin.peaks import peak_of


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-tokens", type=int, default=20_000)
    parser.add_argument("--model", default="qwen3-30b-a3b")
    parser.add_argument("--machine", default="desktop-rtx-4090-ddr5")
    parser.add_argument("--only", nargs="+", choices=POLICIES, default=list(POLICIES))
    asked = parser.parse_args()
    scenario = ("--model", asked.model, "--machine", asked.machine, "--prompt-tokens", "16")
    length = ("--output-tokens", str(asked.output_tokens))
    for policy in asked.only:
        try:
            peak = peak_of("simulate", *scenario, *length, "--policy", policy)
        except subprocess.CalledProcessError as error:
            print(f"{policy}: {error.stderr.strip()}", flush=True)
            continue
        print(f"{policy}: {peak.own_mib:,.0f} MiB, {peak.cpu_s:,.1f} s", flush=True)


if __name__ == "__main__":
    _main()
