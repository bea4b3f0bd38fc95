"""Learn about an engine without opening it here: with TensorFlow's threads, no process can be forked."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

from denoiser.errors import DenoiserError, DeviceError
from denoiser.inference.engine import Engine, EngineFacts
from denoiser.inference.precision import Precision
from denoiser.system.interruptions import INTERRUPTIONS, uninterrupted
from denoiser.weights.modelfile import ModelFile


def facts_of(model: ModelFile, open_engine: Callable[[ModelFile], Engine]) -> EngineFacts:
    """Have another process, forked from this one, open an engine, and return what it says.

    Raises what opening raises, and DeviceError if that ends the process.
    """
    context = multiprocessing.get_context("fork")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_tell, args=(theirs, model, open_engine), name="denoiser", daemon=True)
    with uninterrupted():
        process.start()
    theirs.close()
    try:
        answer: tuple[str, str, Precision] | DenoiserError = pipe.recv()
    except EOFError:
        process.join()
        raise DeviceError(
            f"The keras engine can't be opened: its process ended (exit code {process.exitcode}).",
            "Use --engine numpy.",
        ) from None
    finally:
        process.kill()  # it has nothing to finish
        process.join()
        pipe.close()
    if isinstance(answer, DenoiserError):
        raise answer
    return EngineFacts(*answer, model)


def _tell(pipe: Connection, model: ModelFile, open_engine: Callable[[ModelFile], Engine]) -> None:
    """Open an engine, and send its facts: the main function of the other process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)
    try:
        engine = open_engine(model)
        pipe.send((engine.name, engine.device, engine.precision))
    except DenoiserError as error:
        pipe.send(error)
