"""llama.cpp's own server in a process of its own: `python -m fairlead.local.server --gguf PATH --port 8080`.

The engine is native code with its own threads, so it lives apart from the gateway: a crash there loses one node, not
the front door. Prints one line, `ready URL`, when it answers.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

READY = "ready "
"""What the one line on stdout begins with; the address follows."""

_PARENT_CHECK_S = 0.5
_ERRORS_ONLY, _TALKATIVE = 1, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or the end of the parent process; returns only what went wrong before that."""
    args = _parser().parse_args(argv)
    try:
        import xllamacpp
    except ImportError:
        return _fail("the package xllamacpp is not installed: pip install 'fairlead[local]'")
    try:
        server = xllamacpp.Server(_params(xllamacpp, args))
    except RuntimeError as error:  # the engine has said why on stderr
        return _fail(str(error))
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    # Until here both signals simply end the process, since nothing is being served yet.
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    sys.stdout.write(f"{READY}{server.listening_address}\n")
    sys.stdout.flush()
    if not args.verbose:
        _silence()
    while not stop.wait(_PARENT_CHECK_S):
        if args.parent and os.getppid() != args.parent:
            break
    os._exit(0)  # the engine's own end would wait for every stream that is running


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fairlead.local.server", description="Serve one GGUF model on loopback."
    )
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and tells it")
    parser.add_argument("--alias", default="local", help="the model's name")
    parser.add_argument("--parallel", type=int, default=2, help="tasks at once")
    parser.add_argument("--ctx", type=int, default=2048, help="tokens of prompt and answer, for each task")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--embeddings", action="store_true", help="serve embeddings too")
    parser.add_argument("--parent", type=int, default=0, help="exit when this is no longer the parent process")
    parser.add_argument("--verbose", action="store_true")
    return parser


def _params(engine: Any, args: argparse.Namespace) -> Any:
    params = engine.CommonParams()
    params.model.path = str(args.gguf)
    params.model_alias = {args.alias}
    params.hostnames = [args.host]
    params.port = args.port
    params.n_parallel = args.parallel
    params.n_ctx = args.ctx * args.parallel  # the engine shares it out among the slots
    params.cpuparams.n_threads = args.threads
    params.endpoint_metrics = True
    params.endpoint_slots = True
    if args.embeddings:
        params.embedding = True
        params.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.ui = False
    params.cors_origins = ""  # the default lets any web page read the answers
    params.cors_credentials = False
    params.verbosity = _TALKATIVE if args.verbose else _ERRORS_ONLY
    return params


def _fail(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 3


def _silence() -> None:
    """Drop what the engine writes from now on: it may quote requests, and nobody reads it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
