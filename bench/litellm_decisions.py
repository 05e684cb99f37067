"""Runs in LiteLLM's own environment: times `Router.get_available_deployment` for whoever asks on standard input.

One JSON object a line: {"strategy", "nodes", "calls"} in, {"us": microseconds per decision} or {"error"} out.
"""

import gc
import importlib
import json
import os
import sys
import time
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

# After the environment, which it reads at once; by name, as only its own environment has it.
Router: Any = importlib.import_module("litellm").Router


def build(strategy: str, nodes: int) -> Any:
    """Return a router over `nodes` deployments of one model, all called once where latencies count."""
    deployments = [
        {
            "model_name": "m",
            "litellm_params": {"model": "openai/m", "api_key": "sk-x", "api_base": f"http://127.0.0.1:9/{n}/v1"},
            "model_info": {"id": str(n)},
        }
        for n in range(nodes)
    ]
    return Router(model_list=deployments, routing_strategy=strategy)


def timed_us(router: Any, calls: int) -> float:
    """Return microseconds per decision over `calls` decisions."""
    messages = [{"role": "user", "content": "Debug the crash in the parser."}]
    decide = router.get_available_deployment
    decide(model="m", messages=messages)
    gc.collect()
    gc.disable()
    began = time.thread_time()
    for _ in range(calls):
        decide(model="m", messages=messages)
    spent = time.thread_time() - began
    gc.enable()
    return spent / calls * 1e6


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # LiteLLM prints
    routers: dict[tuple[str, int], Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        key = (asked["strategy"], asked["nodes"])
        answer: dict[str, object]
        try:
            if key not in routers:
                routers[key] = build(*key)
                gc.collect()
                gc.freeze()  # or each collection would go through all the deployments
            answer = {"us": timed_us(routers[key], asked["calls"])}
        except Exception as error:  # told to whoever asked
            answer = {"error": repr(error)[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
