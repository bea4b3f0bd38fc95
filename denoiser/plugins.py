"""Loading plugins, chaining their hooks, and naming the one that is at fault.

pluggy finds and checks the hooks. It calls every implementation with the same arguments and can't chain, so a
short loop over the implementations does that, in load order.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiser.errors import FileError, PluginError

if TYPE_CHECKING:
    import pluggy

    from denoiser.page import Page
    from denoiser.patches import Floats

log = logging.getLogger(__name__)

GROUP = "denoiser"


@dataclass(frozen=True)
class Loaded:
    """One plugin: its name, version or the digest of its file, where it came from, and its hooks."""

    name: str
    version: str
    origin: str
    hooks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The plugin as `denoise plugins --json` prints it."""
        return {"name": self.name, "version": self.version, "origin": self.origin, "hooks": list(self.hooks)}


@dataclass(frozen=True)
class Failed:
    """An installed plugin that can't be loaded, and why."""

    name: str
    origin: str
    error: str

    def as_dict(self) -> dict[str, Any]:
        """The failure as `denoise plugins --json` prints it."""
        return {"name": self.name, "origin": self.origin, "error": self.error}


class Plugins:
    """The loaded plugins, in load order, behind a typed face."""

    def __init__(self) -> None:
        self.loaded: list[Loaded] = []
        self.failed: list[Failed] = []
        self._manager: pluggy.PluginManager | None = None
        self._seen: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.loaded)

    @property
    def signature(self) -> list[list[str]]:
        """What about the plugins decides the pixels: names and versions, in order."""
        return [[plugin.name, plugin.version] for plugin in self.loaded]

    def add(self, module: Any, name: str, version: str, origin: str) -> None:
        """Register a plugin (a module or an object); PluginError if it breaks the hooks' contract."""
        from pluggy import PluginManager, PluginValidationError

        from denoiser import hookspecs

        if self._manager is None:
            self._manager = PluginManager(hookspecs.PROJECT)
            self._manager.add_hookspecs(hookspecs.Hooks)
        if self._manager.has_plugin(name):
            raise PluginError(
                f"Two plugins are called {name}: the second is {origin}.", "Rename one of them."
            )
        try:
            self._manager.register(module, name)
            self._manager.check_pending()
        except PluginValidationError as error:
            self._manager.unregister(name=name)
            known = ", ".join(hook for hook in vars(hookspecs.Hooks) if not hook.startswith("_"))
            raise PluginError(
                f"Plugin {name} ({origin}): {_first_line(error)}.", f"The hooks are: {known}."
            ) from error
        callers = self._manager.get_hookcallers(module) or []
        for caller in callers:
            for impl in caller.get_hookimpls():
                if impl.plugin is module and (impl.hookwrapper or impl.wrapper):
                    self._manager.unregister(name=name)
                    raise PluginError(
                        f"Plugin {name} ({origin}): {caller.name} is a wrapper, which can't be chained.",
                        "Write it as an ordinary @hookimpl.",
                    )
        if not callers:
            self._manager.unregister(name=name)
            raise PluginError(
                f"Plugin {name} ({origin}) has no hooks.", "Mark its functions with @denoiser.hookimpl."
            )
        mine = {caller.name for caller in callers}
        in_order = tuple(hook for hook in vars(hookspecs.Hooks) if hook in mine)
        self.loaded.append(Loaded(name, version, origin, in_order))

    def add_spec(self, spec: str) -> None:
        """Load a plugin from a Python file or an importable module; the same one twice is one."""
        path = Path(spec)
        is_file = path.suffix == ".py" or path.is_file()
        key = str(path.resolve()) if is_file else spec
        if key in self._seen:
            return
        module, version = _load_file(path) if is_file else _load_module(spec)
        self.add(module, path.stem if is_file else spec, version, spec)
        self._seen.add(key)

    def add_installed(self) -> None:
        """Load the plugins of installed packages; one that fails is kept in `failed`."""
        from importlib.metadata import entry_points

        for point in entry_points(group=GROUP):
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            if point.value in self._seen:
                continue
            self._seen.add(point.value)
            try:
                self.add(point.load(), point.name, point.dist.version if point.dist else "", origin)
            except PluginError as error:
                self.failed.append(Failed(point.name, origin, str(error)))
            except Exception as error:  # somebody else's code, at import
                log.debug("plugin %s", point.name, exc_info=True)
                self.failed.append(
                    Failed(point.name, origin, f"{type(error).__name__}: {_first_line(error)}")
                )

    def _impls(self, hook: str) -> list[Any]:
        """Implementations in load order; pluggy keeps them last registered first, by tryfirst and trylast."""
        if self._manager is None:
            return []
        order = {plugin.name: index for index, plugin in enumerate(self.loaded)}
        return sorted(
            getattr(self._manager.hook, hook).get_hookimpls(), key=lambda impl: order[impl.plugin_name]
        )

    def preprocess(self, image: Floats, page: Page) -> Floats:
        """Chain all `preprocess` hooks over a float32 (H, W) image; FileError names a plugin at fault."""
        for impl in self._impls("preprocess"):
            image = _call(impl, "preprocess", image, {"page": page})
        return image

    def postprocess(self, image: Floats, original: Floats, page: Page) -> Floats:
        """Chain all `postprocess` hooks, in reverse load order; FileError names a plugin at fault."""
        for impl in reversed(self._impls("postprocess")):
            image = _call(impl, "postprocess", image, {"original": original, "page": page})
        return image


def load(specs: Sequence[str] = (), *, installed: bool = True) -> Plugins:
    """Load the plugins of installed packages, then those named, in the order given.

    Raises:
        PluginError: one of those named can't be loaded. An installed one only shows up in `failed`.

    """
    plugins = Plugins()
    if installed:
        plugins.add_installed()
    for spec in specs:
        plugins.add_spec(spec)
    return plugins


def insist(plugins: Plugins) -> None:
    """Raise PluginError if an installed plugin failed to load: pixels must not change in silence."""
    for failed in plugins.failed:
        raise PluginError(
            f"The installed plugin {failed.name} ({failed.origin}) can't be loaded: {failed.error}",
            "Mend or uninstall it, or use --no-plugins.",
        )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if len(lines) < 2 else " ".join(lines)).rstrip(".") if lines else type(error).__name__


def _load_file(path: Path) -> tuple[ModuleType, str]:
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
    except Exception as error:  # somebody else's code, at import
        del sys.modules[name]
        log.debug("plugin %s", path, exc_info=True)
        what = f"{type(error).__name__}: {_first_line(error)}{_line_of(error, path)}"
        raise PluginError(f"The plugin {path} fails on loading: {what}.", "Mend it first.") from error
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


def _load_module(name: str) -> tuple[ModuleType, str]:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise PluginError(
                f"There is no plugin {name}: neither a file nor an importable module.",
                "Give the path of a .py file, or the name of an installed module.",
            ) from error
        raise PluginError(
            f"The plugin {name} fails on loading: {_first_line(error)}.", "Install what it needs."
        ) from error
    except Exception as error:  # somebody else's code, at import
        log.debug("plugin %s", name, exc_info=True)
        raise PluginError(
            f"The plugin {name} fails on loading: {type(error).__name__}: {_first_line(error)}."
        ) from error
    version = getattr(module, "__version__", None)
    if version is None and module.__file__:
        version = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()[:16]
    return module, str(version or "")


def _call(impl: Any, hook: str, image: Floats, others: dict[str, Any]) -> Floats:
    image = image.view()
    image.flags.writeable = False
    given = {"image": image, **others}
    try:
        result = impl.function(*(given[name] for name in (*impl.argnames, *impl.kwargnames)))
    except Exception as error:  # somebody else's code: whatever it raises fails this file alone
        log.debug("plugin %s", impl.plugin_name, exc_info=True)
        raise FileError(
            f"plugin {impl.plugin_name} failed in {hook}: {type(error).__name__}: {_first_line(error)}."
        ) from error
    return image if result is None else _checked(result, impl.plugin_name, hook)


def _checked(result: Any, plugin: str, hook: str) -> Floats:
    def fault(what: str) -> FileError:
        return FileError(
            f"plugin {plugin} returned {what} from {hook}; it must be a 2-D array of finite floats."
        )

    if not isinstance(result, np.ndarray):
        raise fault(f"a {type(result).__name__}")
    if result.ndim != 2 or not result.size:
        raise fault(f"an array of shape {result.shape}")
    if not np.issubdtype(result.dtype, np.floating):
        raise fault(f"an array of {result.dtype}")
    if not np.isfinite(result).all():
        raise fault("NaN or infinite values")
    return np.clip(np.ascontiguousarray(result, np.float32), 0.0, 1.0)
