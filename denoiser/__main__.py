"""The process: its environment before NumPy is there, and the one place where errors become exit codes.

Ctrl-C may come in the first moments. Until `main` can answer it, nothing is imported that the interpreter
itself has not imported already.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks for modules in the current folder first, which may have files from anywhere.
    del sys.path[0]

import io
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn


def _terminated(*_: object) -> NoReturn:
    # SIGTERM is handled like Ctrl-C: finished files stay, and half-written ones are removed.
    raise KeyboardInterrupt


def _again(unraisable: sys.UnraisableHookArgs) -> None:
    """Repeat an interruption that came where Python ignores exceptions, as in a weak reference's callback."""
    signals: Any = sys.modules["_signal"]
    if unraisable.exc_type is not KeyboardInterrupt or not hasattr(signals, "setitimer"):
        sys.__unraisablehook__(unraisable)
        return
    # Not at once: exceptions in this function are ignored, too.
    signals.signal(signals.SIGALRM, _terminated)
    signals.setitimer(signals.ITIMER_REAL, 0.01)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; None takes the arguments of the process."""
    import click

    from denoiser.commands.cli import cli
    from denoiser.errors import DenoiserError, ExitCode, on_one_line, reason
    from denoiser.system.stdout import STDOUT

    try:
        result = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="denoise",
            standalone_mode=False,
        )
        return int(result or ExitCode.OK)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        from denoiser.commands.mistakes import explained

        click.echo(on_one_line(f"Error: {explained(error)}"), err=True)
        return error.exit_code
    except DenoiserError as error:
        click.echo(on_one_line(f"Error: {error}"), err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return ExitCode.INTERRUPTED
    except MemoryError:
        click.echo("Error: There is not enough memory. Use smaller images, or a smaller batch.", err=True)
        return ExitCode.CANNOT_START
    except BrokenPipeError:
        _drop_stdout()  # nobody reads it any more
        return ExitCode.SOME_FAILED
    except OSError as error:
        if error.filename == STDOUT:
            _drop_stdout()
        where = f"{error.filename}: " if error.filename else ""
        click.echo(on_one_line(f"Error: {where}{reason(error)}."), err=True)
        return ExitCode.CANNOT_START


def _drop_stdout() -> None:
    """Let what is left for stdout go nowhere: Python would report the same error again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _LenientStderr(io.TextIOWrapper):
    """A stderr whose disk may be full or whose reader may be gone: the work goes on without messages."""

    def write(self, text: str, /) -> int:
        """Write what can be written."""
        try:  # noqa: SIM105 - contextlib is not there in the first moments
            super().write(text)
        except OSError:
            pass
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:  # noqa: SIM105 - as above
            super().flush()
        except OSError:
            pass


def _repair_streams() -> None:
    """Open descriptors 0 to 2: otherwise an output file would get one, and libraries' messages with it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # opens the lowest free descriptor
    raw = open(2, "wb", closefd=False, buffering=0)  # noqa: SIM115 - stays open
    sys.stderr = _LenientStderr(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def main() -> NoReturn:
    """Entry point of `denoise`."""
    # OpenBLAS reads this once, when NumPy loads it. The engine runs its own thread on each core; with BLAS
    # threads in addition, results would depend on their number.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        # The interpreter has loaded `_signal` already. `signal` would import a dozen modules first, and a
        # SIGTERM meanwhile would end the process without a word.
        early = sys.modules["_signal"]
        early.signal(early.SIGTERM, _terminated)
        sys.unraisablehook = _again
        _repair_streams()
        from denoiser.system.stdout import name_stdout

        name_stdout()
        code = run()
        _ignore_signals()
    except KeyboardInterrupt:  # also while all this is imported
        _ignore_signals()
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        from denoiser.errors import ExitCode

        code = ExitCode.INTERRUPTED
    if "threading" in sys.modules and sys.modules["threading"].active_count() > 1:
        from denoiser.system.threads import leave_behind

        leave_behind(int(code))
    sys.exit(code)


def _ignore_signals() -> None:
    """Ignore signals while Python's exit handlers run: the work is done, and they would print a traceback."""
    import signal

    for name in ("SIGINT", "SIGTERM", "SIGALRM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


if __name__ == "__main__":
    main()
