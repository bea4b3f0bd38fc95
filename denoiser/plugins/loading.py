"""From the name of a plugin to its module, and whether any package has brought one."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from denoiser.errors import PluginError
from denoiser.plugins.checks import first_line, let_interruptions_pass

log = logging.getLogger(__name__)


GROUP = "denoiser"


def any_installed() -> bool:
    """Whether an installed package may have plugins; the far slower importlib.metadata then decides."""
    declared = f"[{GROUP}]".encode()
    for folder in sys.path:
        if folder.endswith((".zip", ".egg")):
            return True  # not worth looking into
        for ending in ("dist-info", "egg-info"):
            for path in Path(folder or ".").glob(f"*.{ending}/entry_points.txt"):
                with contextlib.suppress(OSError):
                    if declared in path.read_bytes():
                        return True
    return False


def load_file(path: Path) -> tuple[ModuleType, str]:
    """Load a Python file as a module; returns it and the digest of its content, or raises PluginError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"The plugin {path} can't be read: {error.strerror}.", "Check the path.") from error
    version = hashlib.sha256(content).hexdigest()[:16]
    # A name of its own keeps it from shadowing, or being shadowed by, a module of the same name.
    name = f"denoiser_plugin_{path.stem}_{version}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"The plugin {path} is not a Python file.", "Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # somebody else's code, at import
        let_interruptions_pass(error)
        del sys.modules[name]
        log.debug("plugin %s", path, exc_info=True)
        what = f"{type(error).__name__}: {first_line(error)}{_line_of(error, path)}"
        raise PluginError(f"The plugin {path} fails on loading: {what}.", "Fix the plugin first.") from error
    return module, version


def _line_of(error: BaseException, path: Path) -> str:
    """Where in the plugin's file it happened, as " (line 3)"."""
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})" if error.lineno and str(path) not in str(error) else ""
    frames = _frames(error)
    here = [line for name, line in frames if Path(name) == path or Path(name).name == path.name]
    return f" (line {here[-1]})" if here else ""


def _frames(error: BaseException) -> Iterable[tuple[str, int]]:
    trace = error.__traceback__
    frames = []
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return frames


def load_module(name: str) -> tuple[ModuleType, str]:
    """Import an installed module; returns it and its version, or raises PluginError."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise PluginError(
                f"There is no plugin {name}: neither a file nor an importable module.",
                "Give the path of a .py file, or the name of an installed module.",
            ) from error
        raise PluginError(
            f"The plugin {name} fails on loading: {first_line(error)}.", "Install what it needs."
        ) from error
    except BaseException as error:  # somebody else's code, at import
        let_interruptions_pass(error)
        log.debug("plugin %s", name, exc_info=True)
        raise PluginError(
            f"The plugin {name} fails on loading: {type(error).__name__}: {first_line(error)}."
        ) from error
    version = getattr(module, "__version__", None)
    if version is None and module.__file__:
        version = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:16]
    return module, str(version or "")
