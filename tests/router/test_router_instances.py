"""Instances: what is registered with a router, and command-line agents as real subprocesses."""

import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fairlead.backends.instance import CommandInstance, Instance
from fairlead.errors import FairleadError
from fairlead.router import TaskRouter

ECHO = "import sys; print('you said:', sys.stdin.read())"


def agent(tmp_path: Path, code: str) -> CommandInstance:
    return CommandInstance("agent", tmp_path, [sys.executable, "-c", code])


def test_a_program_answers_a_prompt(tmp_path: Path) -> None:
    echo = agent(tmp_path, ECHO)
    assert isinstance(echo, Instance)
    assert echo.has_updated() == (False, True)
    assert (echo.wait(), echo.returncode) == ("", None)
    echo.send_prompt("grüße")
    assert echo.wait(30).strip() == "you said: grüße"
    assert echo.returncode == 0
    assert echo.has_updated() == (True, True)
    assert echo.has_updated() == (False, True)


def test_each_prompt_has_its_own_answer(tmp_path: Path) -> None:
    echo = agent(tmp_path, ECHO)
    for word in ("one", "two"):
        echo.send_prompt(word)
        assert echo.wait(30).split() == ["you", "said:", word]


def test_it_runs_in_its_folder_and_errors_are_part_of_the_answer(tmp_path: Path) -> None:
    talker = agent(tmp_path, "import os, sys; print(os.getcwd(), file=sys.stderr); sys.exit(3)")
    talker.send_prompt("")
    assert talker.wait(30).strip() == str(tmp_path.resolve())
    assert talker.returncode == 3


def test_output_is_seen_while_the_program_runs(tmp_path: Path) -> None:
    slow = agent(tmp_path, "print('first', flush=True); import time; time.sleep(60)")
    slow.send_prompt("go")
    give_up_s = time.monotonic() + 30
    while not slow.output and time.monotonic() < give_up_s:
        time.sleep(0.01)
    assert slow.has_updated() == (True, False)
    assert slow.returncode is None
    with pytest.raises(FairleadError, match=r"agent is still busy .*wait\(\) for it or stop\(\) it"):
        slow.send_prompt("again")
    slow.stop()
    assert slow.has_updated() == (False, True)
    slow.stop()


def test_what_takes_too_long_is_stopped(tmp_path: Path) -> None:
    slow = agent(tmp_path, "import time; time.sleep(60)")
    slow.send_prompt("go")
    with pytest.raises(FairleadError, match=r"agent gave no answer within 0\.2 s and was stopped"):
        slow.wait(0.2)
    assert slow.returncode not in (None, 0)
    slow.send_prompt("again")
    slow.stop()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    missing = CommandInstance("agent", tmp_path, [str(tmp_path / "no-such-program")])
    with pytest.raises(FairleadError, match=r"cannot start '.*no-such-program' for agent: No such file"):
        missing.send_prompt("go")
    assert missing.has_updated() == (False, True)


def test_a_long_prompt_that_nobody_reads_does_no_harm(tmp_path: Path) -> None:
    deaf = agent(tmp_path, "print('done')")
    deaf.send_prompt("x" * 5_000_000)
    assert deaf.wait(30).strip() == "done"
    process = deaf._process
    assert process is not None
    assert process.stdin is not None
    was_closed = process.stdin.closed
    with suppress(BrokenPipeError):
        process.stdin.close()
    assert was_closed, "a pipe left open warns when it is collected"


def test_a_long_prompt_and_a_long_answer_do_not_block_each_other(tmp_path: Path) -> None:
    echo = agent(tmp_path, "import sys\nfor line in sys.stdin: sys.stdout.write(line)")
    echo.send_prompt("line\n" * 200_000)
    assert len(echo.wait(60)) == 1_000_000


def test_output_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.backends.instance.MAX_OUTPUT_BYTES", 1000)
    loud = agent(tmp_path, "import sys; sys.stdout.write('x' * 1_000_000)")
    loud.send_prompt("")
    assert loud.wait(30) == "x" * 1000


def test_a_router_hands_out_what_was_registered(tmp_path: Path) -> None:
    echo, router = agent(tmp_path, ECHO), TaskRouter("round_robin")
    router.register_model("agent", echo)
    router.register_model("bare")
    assert router.model_pool.get_instance("agent") is echo
    assert router.model_pool.get_instance("bare") is None
    assert ("agent" in router.model_pool, len(router.model_pool)) == (True, 2)
    with router.task("hello") as task:
        assert task.instance is echo
        echo.send_prompt("hello")
        assert "hello" in echo.wait(30)
    assert router.model_metrics("agent").successful_tasks == 1
