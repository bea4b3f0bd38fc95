"""A process that has the command imported, and forks a child for each call of it.

The children are real processes with the command's own entry point, and start in milliseconds. Requests and
answers are JSON, one a line. Run as a script, by the fixture `command`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn


def _child(request: dict[str, Any], ready: int) -> NoReturn:
    """Be the command, with output to files, in a process group of its own; says when it begins."""
    code = 70
    try:
        os.setsid()
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(file, number)
            os.close(file)
        import denoiser.__main__ as command

        sys.argv = ["denoise", *map(os.fsdecode, map(bytes.fromhex, request["args"]))]
        for patch in request["patches"]:
            exec(patch, {})
        os.write(ready, b"!")
        command.main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    except BaseException as error:
        import traceback

        early = error.__traceback__ is not None and error.__traceback__.tb_next is None
        if isinstance(error, KeyboardInterrupt) and early:
            code = 130  # between saying that it begins and beginning
        else:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    begun, ready = os.pipe()
    child = os.fork()
    if not child:
        _child(request, ready)
    os.close(ready)
    os.read(begun, 1)
    os.close(begun)
    kill = request["kill"]
    moment = time.monotonic() + kill[0] if kill else 0.0
    killed = hung = False
    until, ended, status, usage = time.monotonic() + request["timeout"], 0, 0, None
    while not ended:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if not ended and not hung and time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            hung = True
        if kill and not ended and not killed and time.monotonic() > moment:
            _kill(child, *kill[1:])
            killed = True
        time.sleep(0.002)
    assert usage is not None
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "hung": hung, "peak_kb": usage.ru_maxrss, "pid": child, "killed": killed}


def _kill(process: int, number: int, target: str) -> None:
    """Send a signal to the process or to its whole group, or have one of its workers killed."""
    workers = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    with contextlib.suppress(ProcessLookupError):
        if target == "group":
            os.killpg(process, number)
        elif target == "worker" and workers:
            os.kill(int(random.choice(workers)), signal.SIGKILL)
        else:
            os.kill(process, number)


def main() -> None:
    """Serve until stdin ends."""
    from PIL import Image

    import denoiser.commands.run_batch
    import denoiser.inference.glyph_gate
    import denoiser.inference.numpy_engine  # noqa: F401

    Image.init()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
