"""The loaded plugins: call and chain their hooks, and name the plugin in every error.

pluggy finds and checks the hooks. It calls all implementations with the same arguments and can't chain them,
so this module loops over the implementations, in load order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from denoiser._types import Floats
from denoiser.errors import DenoiserError, FileError, PluginError, UsageError
from denoiser.plugins import endings, loading
from denoiser.plugins import options as plugin_options
from denoiser.plugins.checks import blamed, checked, first_line, let_interruptions_pass, read_only

if TYPE_CHECKING:
    import pluggy

    from denoiser.noise import Parameter
    from denoiser.page import Page
    from denoiser.storage.base import Storage

log = logging.getLogger(__name__)

_SUFFIXES_HINT = 'It needs the last endings of names as a tuple, such as SUFFIXES = (".pdf",).'


@dataclass(frozen=True)
class Loaded:
    """A loaded plugin.

    Attributes:
        name: Its name in messages and in `--plugin-option`.
        version: Version of its package, or digest of its file.
        origin: The file, module or package.
        hooks: Names of its hooks.
        suffixes: Endings of the files that it reads and writes, in lower case.
        options: Instance of its `Options` dataclass; None if it has none.
    """

    name: str
    version: str
    origin: str
    hooks: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    options: Any = None

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of `denoise plugins --json`."""
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
    """An installed plugin that can't be loaded, and the error."""

    name: str
    origin: str
    error: str


class Plugins:
    """The loaded plugins, in load order, with a typed method for each hook."""

    def __init__(self) -> None:
        self.loaded: list[Loaded] = []
        self.failed: list[Failed] = []
        self._manager: pluggy.PluginManager | None = None
        self._seen: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.loaded)

    @property
    def see_images(self) -> bool:
        """Whether a plugin sees images: should one crash its process, another process must be left."""
        if not self.loaded:
            return False
        from denoiser.hookspecs import IMAGE_HOOKS

        return any(IMAGE_HOOKS.intersection(plugin.hooks) for plugin in self.loaded)

    @property
    def signature(self) -> list[list[Any]]:
        """Name, version and options of each plugin: outputs with equal signatures have equal pixels."""
        return [
            [plugin.name, plugin.version, {option["name"]: option["value"] for option in options}]
            for plugin in self.loaded
            for options in [plugin_options.described(plugin.options)]
        ]

    def suffixes(self, hook: str) -> frozenset[str]:
        """Return the endings that the plugins with this hook handle."""
        return frozenset(
            suffix for plugin in self.loaded if hook in plugin.hooks for suffix in plugin.suffixes
        )

    def add(self, module: Any, name: str, version: str, origin: str) -> None:
        """Register a module or object as a plugin. Raises PluginError if it breaks a hook's contract."""
        from pluggy import PluginManager, PluginValidationError

        from denoiser import hookspecs

        if self._manager is None:
            self._manager = PluginManager(hookspecs.PROJECT)
            self._manager.add_hookspecs(hookspecs)
        if self._manager.has_plugin(name):
            raise PluginError(
                f"Two plugins are called {name}: the second is {origin}.", "Rename one of them."
            )
        try:
            self._manager.register(module, name)
            self._refuse_unknown(module, f"{name} ({origin})")
            self.loaded.append(self._checked(module, name, version, origin))
        except PluginValidationError as error:
            self._manager.unregister(name=name)
            raise PluginError(
                f"Plugin {name} ({origin}): {first_line(error)}.",
                self._arguments(str(error)) or f"The hooks are: {', '.join(hookspecs.HOOKS)}.",
            ) from error
        except PluginError:
            self._manager.unregister(name=name)
            raise

    def _refuse_unknown(self, module: Any, plugin: str) -> None:
        """Raise PluginError for a hook that doesn't exist. pluggy would name the module as Python does."""
        from denoiser.hookspecs import HOOKS

        assert self._manager is not None  # noqa: S101 - the caller has made it
        for caller in self._manager.get_hookcallers(module) or []:
            if not caller.has_spec() and any(not impl.optionalhook for impl in caller.get_hookimpls()):
                near = difflib.get_close_matches(caller.name, HOOKS, 1)
                raise PluginError(
                    f"Plugin {plugin}: there is no hook {caller.name}.",
                    f"Did you mean {near[0]}?" if near else f"The hooks are: {', '.join(HOOKS)}.",
                )

    def _arguments(self, error: str) -> str | None:
        """Return the arguments of the hook whose argument an error of pluggy's says is unknown."""
        found = re.search(r"for hook '(\w+)'.*Argument\(s\)", error, re.DOTALL)
        spec = getattr(getattr(self._manager, "hook", None), found[1]).spec if found else None
        return f"The arguments of {spec.name} are: {', '.join(spec.argnames)}." if spec else None

    def _checked(self, module: Any, name: str, version: str, origin: str) -> Loaded:
        """Check the rules that pluggy does not check, and describe the plugin."""
        from denoiser.hookspecs import HOOKS

        assert self._manager is not None  # noqa: S101 - the caller has made it
        impls = {}
        for caller in self._manager.get_hookcallers(module) or []:
            for impl in caller.get_hookimpls():
                if impl.plugin is not module:
                    continue
                impls[caller.name] = impl
                if impl.hookwrapper or impl.wrapper:
                    raise PluginError(
                        f"Plugin {name} ({origin}): {caller.name} is a wrapper, which can't be chained.",
                        "Write it as an ordinary @hookimpl.",
                    )
        if not impls:
            raise PluginError(
                f"Plugin {name} ({origin}) has no hooks.", "Mark its functions with @denoiser.hookimpl."
            )
        declared = getattr(module, "Options", None)
        options = None if declared is None else plugin_options.defaults(declared, f"{name} ({origin})")
        for hook, impl in impls.items():
            known = getattr(self._manager.hook, hook).spec.argnames
            for argument in impl.kwargnames:  # pluggy looks at those without defaults only
                if argument not in known:
                    raise PluginError(
                        f"Plugin {name} ({origin}): {hook} has an argument {argument}, which it never gets.",
                        f"The arguments of {hook} are: {', '.join(known)}.",
                    )
            if options is None and "options" in (*impl.argnames, *impl.kwargnames):
                raise PluginError(
                    f"Plugin {name} ({origin}): {hook} wants options, and the plugin declares none.",
                    "Give it a dataclass called Options.",
                )
        suffixes = getattr(module, "SUFFIXES", ())
        if not isinstance(suffixes, tuple | list) or not all(
            isinstance(suffix, str) and suffix == Path(f"x{suffix}").suffix for suffix in suffixes
        ):
            raise PluginError(f"Plugin {name} ({origin}): SUFFIXES is {suffixes!r}.", _SUFFIXES_HINT)
        if not suffixes and not impls.keys().isdisjoint(("read_pages", "write_pages")):
            raise PluginError(f"Plugin {name} ({origin}) names no files to handle.", _SUFFIXES_HINT)
        hooks = tuple(hook for hook in HOOKS if hook in impls)
        return Loaded(name, version, origin, hooks, tuple(suffix.lower() for suffix in suffixes), options)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Set options, from NAME.KEY to a value of the option's type or to text.

        Raises UsageError for an unknown plugin or option, and for an impossible value.
        """
        settings: dict[str, dict[str, Any]] = {}
        if not isinstance(values, Mapping):
            raise UsageError(f"The plugin options are {values!r}.", 'Use a dict: {"NAME.KEY": value}.')
        for key, value in values.items():
            name, dot, option = str(key).rpartition(".")
            if not dot or not name or not option:
                raise UsageError(f"The plugin option {key!r} is not of the form NAME.KEY.")
            settings.setdefault(name, {})[option] = value
        indices = {plugin.name: index for index, plugin in enumerate(self.loaded)}
        for name, values_of_plugin in settings.items():
            if name not in indices:
                near = difflib.get_close_matches(name, indices, 1)
                known = f"Loaded: {', '.join(indices)}." if indices else "None is loaded; use --plugin FILE."
                raise UsageError(
                    f"There is no plugin {name} to set options of.",
                    f"Did you mean {near[0]}?" if near else known,
                )
            plugin = self.loaded[indices[name]]
            options = plugin_options.changed(plugin.options, name, values_of_plugin)
            self.loaded[indices[name]] = dataclasses.replace(plugin, options=options)

    def add_spec(self, spec: str) -> None:
        """Load a plugin from a Python file or an importable module, unless it is loaded already."""
        if not spec:
            raise PluginError("The name of a plugin is empty.", "Is a variable in the command not set?")
        path = loading.as_file(spec)
        key = spec if path is None else str(path.resolve())
        if key in self._seen:
            return
        module, version = loading.load_module(spec) if path is None else loading.load_file(path)
        self.add(module, spec if path is None else path.stem, version, spec)
        self._seen.add(key)

    def add_installed(self) -> None:
        """Load the plugins of installed packages, and add those that can't be loaded to `failed`."""
        if not loading.any_installed():
            return
        from importlib.metadata import entry_points

        for point in entry_points(group=loading.GROUP):
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            if point.value in self._seen:
                continue
            self._seen.add(point.value)
            try:
                with endings.told(point.name):
                    module = point.load()
                self.add(module, point.name, point.dist.version if point.dist else "", origin)
            except PluginError as error:
                self.failed.append(Failed(point.name, origin, str(error)))
            except BaseException as error:  # importing runs the plugin's code
                let_interruptions_pass(error)
                log.debug("plugin %s", point.name, exc_info=True)
                self.failed.append(Failed(point.name, origin, f"{type(error).__name__}: {first_line(error)}"))

    def _impls(self, hook: str) -> list[Any]:
        """Return the implementations of a hook in load order; pluggy has an order of its own."""
        if self._manager is None:
            return []
        order = {plugin.name: index for index, plugin in enumerate(self.loaded)}
        return sorted(
            getattr(self._manager.hook, hook).get_hookimpls(), key=lambda impl: order[impl.plugin_name]
        )

    def _invoke(self, impl: Any, hook: str, arguments: Mapping[str, Any]) -> Any:
        """Call an implementation with the arguments that it declares. Raises FileError if it fails."""
        options = next(plugin.options for plugin in self.loaded if plugin.name == impl.plugin_name)
        arguments = {**arguments, "options": options}
        with blamed(impl.plugin_name, hook):
            return impl.function(*(arguments[name] for name in (*impl.argnames, *impl.kwargnames)))

    def _chain(self, impls: Iterable[Any], hook: str, image: Floats, **arguments: Any) -> Floats:
        """Give each implementation the image that the previous one returned."""
        for impl in impls:
            image = read_only(image)  # a plugin must not change the image that another one returned
            result = self._invoke(impl, hook, {"image": image, **arguments})
            if result is not None:
                image = checked(result, impl.plugin_name, hook)
        return image

    def preprocess(self, image: Floats, page: Page) -> Floats:
        """Chain all `preprocess` hooks over a float32 (H, W) image. Raises FileError if one fails."""
        return self._chain(self._impls("preprocess"), "preprocess", image, page=page)

    def postprocess(self, image: Floats, original: Floats, page: Page) -> Floats:
        """Chain all `postprocess` hooks in reverse load order. Raises FileError if one fails."""
        impls = self._impls("postprocess")
        if not impls:
            return image
        impls.reverse()
        return self._chain(impls, "postprocess", image, original=read_only(original), page=page)

    @contextlib.contextmanager
    def noises(self) -> Iterator[None]:
        """Register the noises of all `register_noise` hooks within the context.

        Raises PluginError if a hook fails or a name is taken; the noises raise it when they fail.
        """
        added: list[str] = []
        try:
            for impl in self._impls("register_noise"):
                register = functools.partial(_register, impl.plugin_name, added)
                with _plugin_errors():
                    self._invoke(impl, "register_noise", {"register": register})
            yield
        finally:
            if added:
                from denoiser import noise

                for name in added:
                    noise.unregister(name)

    def open_storage(self, url: str) -> Storage | None:
        """Ask the plugins, in load order, to open a URL; None if none does.

        Raises StorageError where a plugin does, and PluginError if one fails.
        """
        for impl in self._impls("open_storage"):
            try:
                with _plugin_errors():
                    storage = self._invoke(impl, "open_storage", {"url": url})
            except PluginError as error:
                root = error.__cause__.__cause__ if error.__cause__ else None
                raise root if isinstance(root, DenoiserError) else error from None
            if storage is not None:
                return cast("Storage", storage)
        return None

    def read_pages(self, path: Path) -> tuple[str, Iterator[Any]] | None:
        """Ask the plugins for this ending, in load order, to read a file.

        Returns the plugin's name and its unchecked pages, or None if no plugin accepts the file.
        """
        for impl in self._for("read_pages", path):
            pages = self._invoke(impl, "read_pages", {"path": path})
            if pages is not None:
                with blamed(impl.plugin_name, "read_pages"):
                    return impl.plugin_name, iter(pages)
        return None

    def writes(self, path: Path) -> bool:
        """Return True if a plugin handles this ending."""
        return bool(self._for("write_pages", path))

    def write_pages(self, path: Path, pages: Iterator[Any]) -> str | None:
        """Ask the plugins for this ending, in load order, to write a file.

        Returns the plugin's name, or None if no plugin accepts the file. Raises FileError if a plugin takes
        pages and then declines.
        """
        for impl in self._for("write_pages", path):
            requested = False

            def watched() -> Iterator[Any]:
                nonlocal requested
                requested = True
                yield from pages

            answer = self._invoke(impl, "write_pages", {"path": path, "pages": watched()})
            if answer is True:
                return str(impl.plugin_name)
            if answer is not None or requested:
                raise FileError(
                    f"plugin {impl.plugin_name} returned {answer!r} from write_pages, having taken pages; "
                    "it must return True."
                )
        return None

    def _for(self, hook: str, path: Path) -> list[Any]:
        names = {plugin.name for plugin in self.loaded if path.suffix.lower() in plugin.suffixes}
        return [impl for impl in self._impls(hook) if impl.plugin_name in names]


@contextlib.contextmanager
def _plugin_errors() -> Iterator[None]:
    """Turn a FileError, which would fail one file, into a PluginError, which ends the training."""
    try:
        yield
    except FileError as error:
        raise PluginError(error.message[:1].upper() + error.message[1:]) from error


def _register(
    plugin: str,
    added: list[str],
    name: str,
    function: Any,
    help: str = "",  # noqa: A002 - plugins call it by this name
    parameters: Mapping[str, Parameter] | None = None,
) -> None:
    """Register a plugin's noise, whose errors name the plugin."""
    from denoiser import noise

    if name in noise.names():
        raise ValueError(f"there is a noise called {name} already")

    @functools.wraps(function)
    def guarded(clean: Floats, rng: np.random.Generator, **values: Any) -> Floats:
        with _plugin_errors():
            with blamed(plugin, f"the noise {name}"):
                result = function(read_only(clean), rng, **values)
            return checked(result, plugin, f"the noise {name}", shape=clean.shape)

    noise.register(name, guarded, help, parameters=parameters)
    added.append(name)


def named(given: Any) -> list[str]:
    """Return the files or modules that a caller from Python names, one or several; else raise UsageError."""
    several = [given] if isinstance(given, str | Path) else given
    names = list(several) if isinstance(several, Iterable) else [several]
    if not all(isinstance(name, str | Path) for name in names):
        raise UsageError(f"plugins is {given!r}; it must be Python files or names of modules.")
    return [str(name) for name in names]


def load(
    specs: Sequence[str] = (), *, installed: bool = True, options: Mapping[str, Any] | Sequence[str] = ()
) -> Plugins:
    """Load the plugins of installed packages, then the plugins of `specs` in order, and set their options.

    Args:
        specs: Python files or importable modules.
        installed: Whether to load the plugins of installed packages.
        options: Mapping as for `Plugins.configure`, or texts NAME.KEY=VALUE.

    Raises:
        PluginError: A plugin of `specs` can't be loaded. Installed plugins that fail are in `failed`.
        UsageError: An option can't be set.
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
            f"--plugin-option {text}: it must be NAME.KEY=VALUE.", "An example: invert.threshold=0.4"
        )
    return key.strip(), value.strip()


def insist(plugins: Plugins) -> None:
    """Raise PluginError if an installed plugin failed to load: without it, the pixels would differ."""
    for failed in plugins.failed:
        fault = failed.error.rstrip(".")
        raise PluginError(
            f"The installed plugin {failed.name} ({failed.origin}) can't be loaded: {fault}.",
            "Fix or uninstall it, or use --no-plugins.",
        )
