"""The process: its environment before NumPy is there, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from denoiser.errors import DenoiserError, ExitCode, on_one_line, reason


def _terminated(*_: object) -> NoReturn:
    # Being told to end is the same as Ctrl-C: finished files stay, nothing half-written does.
    raise KeyboardInterrupt


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code. `arguments` default to the process's."""
    import click

    from denoiser.commands import cli

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


def main() -> NoReturn:
    """Entry point of `denoise`."""
    # OpenBLAS reads this once, when NumPy loads it. The engine runs a thread of its own on each core; with
    # BLAS threads below those, results would depend on how many there are.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run())


if __name__ == "__main__":
    main()
