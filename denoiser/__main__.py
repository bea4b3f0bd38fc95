"""The process: its environment before NumPy is there, and the one place where errors become exit codes.

Ctrl-C may come in the first moments. Until `main` can answer it, nothing is imported that the interpreter
itself has not imported already.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks for modules in the current folder first, which may be full of other people's files.
    del sys.path[0]

import io
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def _terminated(*_: object) -> NoReturn:
    # Being told to end is the same as Ctrl-C: finished files stay, nothing half-written does.
    raise KeyboardInterrupt


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code. `arguments` default to the process's."""
    import click

    from denoiser.commands.cli import cli
    from denoiser.errors import DenoiserError, ExitCode, on_one_line, reason

    try:
        result = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="denoise",
            standalone_mode=False,
        )
        return int(result or ExitCode.OK)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
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
        # The reader of our output is gone; Python would complain again while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.SOME_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(on_one_line(f"Error: {where}{reason(error)}."), err=True)
        return ExitCode.CANNOT_START


class _Patient(io.TextIOWrapper):
    """A stderr that may be full or gone: the work goes on without its messages."""

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


def _mend_streams() -> None:
    """Have descriptors 0 to 2 open, or a file of ours would get one, and libraries' messages in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which gives the lowest that is free
    raw = open(2, "wb", closefd=False, buffering=0)  # noqa: SIM115 - a descriptor, for good
    sys.stderr = _Patient(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def main() -> NoReturn:
    """Entry point of `denoise`."""
    # OpenBLAS reads this once, when NumPy loads it. The engine runs a thread of its own on each core; with
    # BLAS threads below those, results would depend on how many there are.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        import signal

        signal.signal(signal.SIGTERM, _terminated)
        _mend_streams()
        code = run()
        _ignore_signals()
    except KeyboardInterrupt:  # also while all this is imported
        _ignore_signals()
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        from denoiser.errors import ExitCode

        code = ExitCode.INTERRUPTED
    sys.exit(code)


def _ignore_signals() -> None:
    """Ignore signals while Python's exit handlers run: the work is done, and they would print a traceback."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
