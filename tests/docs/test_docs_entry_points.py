"""A package that declares the examples' strategy and detector as entry points makes both known by name."""

import os
import subprocess
import sys
from pathlib import Path

from docs_shared import ROOT

USE = """
from fairlead import TaskRouter
from fairlead.categories import detector_named
from fairlead.config import loads

router = TaskRouter("cheapest", detector=detector_named("tickets"))
router.register_model("m")
assert router.routing_strategy == "cheapest"
assert router.route_task("[qa] the report is empty") == "m"
assert router.task_category("[qa] the report is empty") == "testing"
assert loads("strategy: cheapest\\nnodes: [{kind: simulated}]").strategy == "cheapest"
"""


def test_entry_points(tmp_path: Path) -> None:
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fairlead.strategies]\ncheapest = own_strategy:Cheapest\n"
        "[fairlead.detectors]\ntickets = own_detector:TicketDetector\n"
    )
    places = [str(tmp_path), str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=False, timeout=60, env=env)
    assert done.returncode == 0, done.stderr

    prompt = [sys.executable, "-m", "fairlead", "route", "--strategy", "cheapest", "write a function"]
    file = tmp_path / "fairlead.yaml"
    file.write_text("detector: tickets\nnodes: [{kind: simulated}]\n")
    done = subprocess.run([*prompt, "-c", str(file)], capture_output=True, text=True, check=False, timeout=60, env=env)
    assert "lowest price" in done.stdout, done.stderr
