"""The plugins that are loaded: chaining their hooks, and naming the one that is at fault.

pluggy finds and checks the hooks. It calls every implementation with the same arguments and can't chain, so a
short loop over the implementations does that, in load order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiser._types import Floats
from denoiser.errors import FileError, PluginError, UsageError
from denoiser.plugins import loading
from denoiser.plugins import options as plugin_options
from denoiser.plugins.checks import blamed, checked, first_line, let_interruptions_pass, read_only

if TYPE_CHECKING:
    import pluggy

    from denoiser.noise import Parameter
    from denoiser.page import Page

log = logging.getLogger(__name__)

_SUFFIXES_HINT = 'It needs the endings as a tuple, such as SUFFIXES = (".pdf",).'


@dataclass(frozen=True)
class Loaded:
    """One plugin.

    Attributes:
        name: what messages and `--plugin-option` call it.
        version: that of its package, or the digest of its file.
        origin: where it came from.
        hooks: the hooks that it has.
        suffixes: the endings of the files that it reads and writes, in lower case.
        options: its settings, an instance of the dataclass that it declares; None if it has none.

    """

    name: str
    version: str
    origin: str
    hooks: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    options: Any = None

    def as_dict(self) -> dict[str, Any]:
        """The plugin as `denoise plugins --json` prints it."""
        return {
            "name": self.name,
            "version": self.version,
            "origin": self.origin,
            "hooks": list(self.hooks),
            "suffixes": list(self.suffixes),
            "options": plugin_options.described(self.options),
        }


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
    def signature(self) -> list[list[Any]]:
        """What about the plugins decides the pixels: names, versions and options, in order."""
        return [
            [
                plugin.name,
                plugin.version,
                {each["name"]: each["value"] for each in plugin_options.described(plugin.options)},
            ]
            for plugin in self.loaded
        ]

    def suffixes(self, hook: str) -> frozenset[str]:
        """The endings of the files that plugins with this hook are for."""
        return frozenset(
            suffix for plugin in self.loaded if hook in plugin.hooks for suffix in plugin.suffixes
        )

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
            self.loaded.append(self._described(module, name, version, origin))
        except PluginValidationError as error:
            self._manager.unregister(name=name)
            raise PluginError(
                f"Plugin {name} ({origin}): {first_line(error)}.",
                self._arguments(str(error)) or f"The hooks are: {', '.join(_hooks())}.",
            ) from error
        except PluginError:
            self._manager.unregister(name=name)
            raise

    def _arguments(self, error: str) -> str | None:
        """Return the arguments of the hook whose argument an error of pluggy's says is unknown."""
        found = re.search(r"for hook '(\w+)'.*Argument\(s\)", error, re.DOTALL)
        spec = getattr(getattr(self._manager, "hook", None), found[1]).spec if found else None
        return f"The arguments of {spec.name} are: {', '.join(spec.argnames)}." if spec else None

    def _described(self, module: Any, name: str, version: str, origin: str) -> Loaded:
        """Check what pluggy does not, and return the facts."""
        assert self._manager is not None  # noqa: S101 - the caller has made it
        mine = {}
        for caller in self._manager.get_hookcallers(module) or []:
            for impl in caller.get_hookimpls():
                if impl.plugin is not module:
                    continue
                mine[caller.name] = impl
                if impl.hookwrapper or impl.wrapper:
                    raise PluginError(
                        f"Plugin {name} ({origin}): {caller.name} is a wrapper, which can't be chained.",
                        "Write it as an ordinary @hookimpl.",
                    )
        if not mine:
            raise PluginError(
                f"Plugin {name} ({origin}) has no hooks.", "Mark its functions with @denoiser.hookimpl."
            )
        declared = getattr(module, "Options", None)
        options = None if declared is None else plugin_options.defaults(declared, f"{name} ({origin})")
        for hook, impl in mine.items():
            if options is None and "options" in (*impl.argnames, *impl.kwargnames):
                raise PluginError(
                    f"Plugin {name} ({origin}): {hook} wants options, and the plugin declares none.",
                    "Give it a dataclass called Options.",
                )
        suffixes = getattr(module, "SUFFIXES", ())
        if not isinstance(suffixes, tuple | list) or not all(
            isinstance(each, str) and each.startswith(".") for each in suffixes
        ):
            raise PluginError(f"Plugin {name} ({origin}): SUFFIXES is {suffixes!r}.", _SUFFIXES_HINT)
        if not suffixes and not mine.keys().isdisjoint(("read_pages", "write_pages")):
            raise PluginError(f"Plugin {name} ({origin}) does not say which files it is for.", _SUFFIXES_HINT)
        in_order = tuple(hook for hook in _hooks() if hook in mine)
        return Loaded(name, version, origin, in_order, tuple(each.lower() for each in suffixes), options)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Set options: NAME.KEY to a value of its type, or to text that is read as one.

        Raises:
            UsageError: no such plugin or option, or a value that it can't have.

        """
        given: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            name, dot, option = key.rpartition(".")
            if not dot or not name or not option:
                raise UsageError(f"The plugin option {key!r} is not of the form NAME.KEY.")
            given.setdefault(name, {})[option] = value
        places = {plugin.name: place for place, plugin in enumerate(self.loaded)}
        for name, settings in given.items():
            if name not in places:
                near = difflib.get_close_matches(name, places, 1)
                known = f"Loaded: {', '.join(places)}." if places else "None is loaded; use --plugin FILE."
                raise UsageError(
                    f"There is no plugin {name} to set options of.",
                    f"Did you mean {near[0]}?" if near else known,
                )
            plugin = self.loaded[places[name]]
            options = plugin_options.changed(plugin.options, name, settings)
            self.loaded[places[name]] = dataclasses.replace(plugin, options=options)

    def add_spec(self, spec: str) -> None:
        """Load a plugin from a Python file or an importable module; the same one twice is one."""
        if not spec:
            raise PluginError(
                "A plugin without a name was asked for.", "Is a variable in the command not set?"
            )
        path = Path(spec)
        is_file = path.suffix == ".py" or path.is_file()
        key = str(path.resolve()) if is_file else spec
        if key in self._seen:
            return
        module, version = loading.load_file(path) if is_file else loading.load_module(spec)
        self.add(module, path.stem if is_file else spec, version, spec)
        self._seen.add(key)

    def add_installed(self) -> None:
        """Load the plugins of installed packages; one that fails is kept in `failed`."""
        if not loading.any_installed():
            return
        from importlib.metadata import entry_points

        for point in entry_points(group=loading.GROUP):
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            if point.value in self._seen:
                continue
            self._seen.add(point.value)
            try:
                self.add(point.load(), point.name, point.dist.version if point.dist else "", origin)
            except PluginError as error:
                self.failed.append(Failed(point.name, origin, str(error)))
            except BaseException as error:  # somebody else's code, at import
                let_interruptions_pass(error)
                log.debug("plugin %s", point.name, exc_info=True)
                self.failed.append(Failed(point.name, origin, f"{type(error).__name__}: {first_line(error)}"))

    def _impls(self, hook: str) -> list[Any]:
        """Implementations in load order; pluggy keeps them last registered first, by tryfirst and trylast."""
        if self._manager is None:
            return []
        order = {plugin.name: index for index, plugin in enumerate(self.loaded)}
        return sorted(
            getattr(self._manager.hook, hook).get_hookimpls(), key=lambda impl: order[impl.plugin_name]
        )

    def _invoke(self, impl: Any, hook: str, given: Mapping[str, Any]) -> Any:
        """Call one implementation with what it declares; FileError names it if it fails."""
        options = next(plugin.options for plugin in self.loaded if plugin.name == impl.plugin_name)
        given = {**given, "options": options}
        with blamed(impl.plugin_name, hook):
            return impl.function(*(given[name] for name in (*impl.argnames, *impl.kwargnames)))

    def _step(self, impl: Any, hook: str, image: Floats, others: Mapping[str, Any]) -> Floats:
        image = read_only(image)
        result = self._invoke(impl, hook, {"image": image, **others})
        return image if result is None else checked(result, impl.plugin_name, hook)

    def preprocess(self, image: Floats, page: Page) -> Floats:
        """Chain all `preprocess` hooks over a float32 (H, W) image; FileError names a plugin at fault."""
        if not self.loaded:
            return image
        for impl in self._impls("preprocess"):
            image = self._step(impl, "preprocess", image, {"page": page})
        return image

    def postprocess(self, image: Floats, original: Floats, page: Page) -> Floats:
        """Chain all `postprocess` hooks, in reverse load order; FileError names a plugin at fault."""
        if not self.loaded:
            return image
        others = {"original": read_only(original), "page": page}
        for impl in reversed(self._impls("postprocess")):
            image = self._step(impl, "postprocess", image, others)
        return image

    @contextlib.contextmanager
    def noises(self) -> Iterator[None]:
        """Let the noises of all `register_noise` hooks be known inside the block.

        Raises:
            PluginError: a hook fails, or a name is taken. Noises raise it too, when they are used.

        """
        added: list[str] = []
        try:
            for impl in self._impls("register_noise"):
                register = functools.partial(_register, impl.plugin_name, added)
                try:
                    self._invoke(impl, "register_noise", {"register": register})
                except FileError as error:
                    raise PluginError(error.message[:1].upper() + error.message[1:]) from error
            yield
        finally:
            if added:
                from denoiser import noise

                for name in added:
                    noise.unregister(name)

    def read_pages(self, path: Path) -> tuple[str, Iterator[Any]] | None:
        """Ask the plugins for this ending, in load order, for a file's pages.

        Returns the plugin's name and what it gives, unchecked, or None if it is no plugin's file.
        """
        for impl in self._for("read_pages", path):
            pages = self._invoke(impl, "read_pages", {"path": path})
            if pages is not None:
                with blamed(impl.plugin_name, "read_pages"):
                    return impl.plugin_name, iter(pages)
        return None

    def writes(self, path: Path) -> bool:
        """Whether any plugin is for files with this ending."""
        return bool(self._for("write_pages", path))

    def write_pages(self, path: Path, pages: Iterator[Any]) -> str | None:
        """Ask the plugins for this ending, in load order, to write a file; returns who did.

        FileError if one takes pages without saying that it has written them.
        """
        for impl in self._for("write_pages", path):
            taken = _Counted(pages)
            answer = self._invoke(impl, "write_pages", {"path": path, "pages": taken})
            if answer is True:
                return str(impl.plugin_name)
            if answer is not None or taken.asked:
                raise FileError(
                    f"plugin {impl.plugin_name} returned {answer!r} from write_pages, having taken pages; "
                    "it must return True."
                )
        return None

    def _for(self, hook: str, path: Path) -> list[Any]:
        mine = {plugin.name for plugin in self.loaded if path.suffix.lower() in plugin.suffixes}
        return [impl for impl in self._impls(hook) if impl.plugin_name in mine]


class _Counted:
    """An iterator that knows whether it was asked for anything."""

    def __init__(self, pages: Iterator[Any]) -> None:
        self._pages = pages
        self.asked = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.asked = True
        return next(self._pages)


def _register(
    plugin: str,
    added: list[str],
    name: str,
    function: Any,
    help: str = "",  # noqa: A002 - plugins call it by this name
    *,
    parameters: Mapping[str, Parameter] | None = None,
) -> None:
    """Register a plugin's noise, so that its faults are the plugin's."""
    from denoiser import noise

    if name in noise.names():
        raise ValueError(f"there is a noise called {name} already")

    @functools.wraps(function)
    def guarded(clean: Floats, rng: np.random.Generator, **values: Any) -> Floats:
        try:
            with blamed(plugin, f"the noise {name}"):
                result = function(read_only(clean), rng, **values)
            return checked(result, plugin, f"the noise {name}", shape=clean.shape)
        except FileError as error:
            raise PluginError(error.message[:1].upper() + error.message[1:]) from error

    noise.register(name, guarded, help, parameters=parameters)
    added.append(name)


def load(
    specs: Sequence[str] = (), *, installed: bool = True, options: Mapping[str, Any] | Sequence[str] = ()
) -> Plugins:
    """Load the plugins of installed packages, then those named, in the order given, and set their options.

    `options` is a mapping as for `Plugins.configure`, or a sequence of texts NAME.KEY=VALUE.

    Raises:
        PluginError: one of those named can't be loaded. An installed one only shows up in `failed`.
        UsageError: an option that can't be set.

    """
    plugins = Plugins()
    if installed:
        plugins.add_installed()
    for spec in specs:
        plugins.add_spec(spec)
    plugins.configure(options if isinstance(options, Mapping) else dict(map(_setting, options)))
    return plugins


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise UsageError(
            f"--plugin-option {text}: it must be NAME.KEY=VALUE.", "Such as invert.threshold=0.4"
        )
    return key.strip(), value.strip()


def insist(plugins: Plugins) -> None:
    """Raise PluginError if an installed plugin failed to load: pixels must not change in silence."""
    for failed in plugins.failed:
        raise PluginError(
            f"The installed plugin {failed.name} ({failed.origin}) can't be loaded: {failed.error}",
            "Fix or uninstall it, or use --no-plugins.",
        )


def _hooks() -> list[str]:
    from denoiser import hookspecs

    return [name for name in vars(hookspecs.Hooks) if not name.startswith("_")]
