"""Find and import the modules of plugins."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import sys
import traceback
from pathlib import Path
from types import ModuleType

from denoiser.errors import PluginError
from denoiser.plugins import endings
from denoiser.plugins.checks import first_line, let_interruptions_pass

log = logging.getLogger(__name__)


GROUP = "denoiser"


def any_installed() -> bool:
    """Return True if an installed package may have plugins: a quick look before importlib.metadata."""
    declared = f"[{GROUP}]".encode()
    for folder in sys.path:
        # Every interpreter names a zip that hardly any has; looking inside one would take longer.
        if folder.endswith((".zip", ".egg")) and Path(folder).exists():
            return True
        for ending in ("dist-info", "egg-info"):
            for path in Path(folder or ".").glob(f"*.{ending}/entry_points.txt"):
                with contextlib.suppress(OSError):
                    if declared in path.read_bytes():
                        return True
    return False


def as_file(spec: str) -> Path | None:
    """Return the path of a plugin that is named as a file; None for the name of a module."""
    path = Path(spec)
    return path if path.suffix == ".py" or path.is_file() else None


def load_file(path: Path) -> tuple[ModuleType, str]:
    """Import a Python file; returns the module and a digest of the file. Raises PluginError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"The plugin {path} can't be read: {error.strerror}.", "Check the path.") from error
    version = hashlib.sha256(content).hexdigest()[:16]
    # A unique name, so that the module neither shadows another module nor is shadowed.
    name = f"denoiser_plugin_{path.stem}_{version}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"The plugin {path} is not a Python file.", "Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with endings.told(str(path)):
            spec.loader.exec_module(module)
    except BaseException as error:  # importing runs the plugin's code
        let_interruptions_pass(error)
        del sys.modules[name]
        log.debug("plugin %s", path, exc_info=True)
        fault = f"{type(error).__name__}: {first_line(error)}{_line_of(error, path)}"
        raise PluginError(f"The plugin {path} fails on loading: {fault}.", "Fix the plugin first.") from error
    return module, version


def _line_of(error: BaseException, path: Path) -> str:
    """Return the innermost line of the plugin's file in the traceback, as " (line 3)"."""
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})" if error.lineno and path.name not in str(error) else ""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if Path(frame.f_code.co_filename).name == path.name]
    return f" (line {lines[-1]})" if lines else ""


def load_module(name: str) -> tuple[ModuleType, str]:
    """Import an installed module; returns the module and its version. Raises PluginError."""
    try:
        with endings.told(name):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise PluginError(
                f"There is no plugin {name}: neither a file nor an importable module.",
                "Give the path of a .py file, or the name of an installed module.",
            ) from error
        raise PluginError(
            f"The plugin {name} fails on loading: {first_line(error)}.", "Install the module that it needs."
        ) from error
    except BaseException as error:  # importing runs the plugin's code
        let_interruptions_pass(error)
        log.debug("plugin %s", name, exc_info=True)
        raise PluginError(
            f"The plugin {name} fails on loading: {type(error).__name__}: {first_line(error)}."
        ) from error
    version = getattr(module, "__version__", None)
    if version is None and module.__file__:
        version = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:16]
    return module, str(version or "")
