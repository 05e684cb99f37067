"""The same seed and the same ordered events give the same decisions, whatever the process's own hash seed."""

import os
import subprocess
import sys
from pathlib import Path

from core_shared import STRATEGIES

PROGRAM = Path(__file__).with_name("decision_log.py")


def log(hash_seed: int) -> str:
    env = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run([sys.executable, PROGRAM], env=env, capture_output=True, text=True, check=True).stdout


def test_two_processes_with_other_hash_seeds_decide_alike() -> None:
    first, second = log(1), log(2)
    assert first == second
    assert first.count("\n") > 300 * len(STRATEGIES)
