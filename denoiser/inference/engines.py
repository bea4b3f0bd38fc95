"""The models that may clean an image, and the engines that compute them: each read and opened once."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

from denoiser.errors import UsageError
from denoiser.inference import auto
from denoiser.inference.engine import Engine, EngineFacts, may_need_keras, open_engine
from denoiser.weights import store
from denoiser.weights.modelfile import ModelFile


class Engines:
    """Models and their engines, for any number of threads.

    Args:
        model: "auto", a model's name, a .keras file, or a model that was read already.
        settings: keyword arguments of `open_engine`.

    Attributes:
        models: the models that were read, by name and by the name of the file.
        auto: whether each picture's model is chosen.
        main: name of the model for pictures, or of the only one.

    Raises:
        ModelError: an unknown, missing or damaged model.
        UsageError: something that can't name one.

    """

    def __init__(self, model: str | Path | ModelFile, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._engines: dict[str, Engine] = {}
        self._facts: dict[str, EngineFacts] = {}
        self._apart = False
        self.models: dict[str, ModelFile] = {}
        self.auto = model == auto.AUTO
        if not isinstance(model, str | Path | ModelFile):
            raise UsageError(
                f"model is {model!r}; it must be a name, a .keras file, or a model that was read."
            )
        if isinstance(model, ModelFile):
            self.main = model.name
            self.models[model.name] = model
        else:
            self.main = auto.PICTURES if self.auto else self.model(str(model)).name

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models that may be used, the smallest first."""
        return auto.NETWORKS if self.auto else (self.main,)

    def model(self, name: str | None = None) -> ModelFile:
        """Read a model by name or file, once; None is the one for pictures, or the only one."""
        name = self.main if name is None else name
        with self._lock:
            if name not in self.models:
                # With "auto", one of the two models may never be used, and unpacking takes time.
                model = store.load(name, unpack=not self.auto)
                self.models[name] = self.models[model.name] = model
            return self.models[name]

    def engine(self, name: str | None = None) -> Engine:
        """Return the engine of a model, opened on first use; None is the one for pictures or the only one."""
        name = self.main if name is None else name
        with self._lock:
            if name not in self._engines:
                self._engines[name] = open_engine(self.model(name), **self._settings)
            return self._engines[name]

    def keep_apart(self) -> None:
        """Open no engine in this process whose library starts threads; see `Denoiser.keep_apart`."""
        self._apart = True

    def probed(self, name: str) -> Engine | EngineFacts:
        """Open the engine of a model, or have another process do so."""
        with self._lock:
            model = self.model(name)
            if not self._apart or not may_need_keras(model, **self._settings):
                return self.engine(name)
            if name not in self._facts:
                from denoiser.inference.engine_apart import facts_of

                facts = facts_of(model, partial(open_engine, **self._settings))
                if facts.name == "numpy":  # no GPU was found
                    self._settings.update(engine="numpy", device="cpu")
                    return self.engine(name)
                self._facts[name] = facts
            return self._facts[name]

    def limit(self, jobs: int) -> None:
        """Compute on at most so many threads from now on, in the engines that are open."""
        for engine in self._engines.values():
            engine.jobs = jobs

    def close(self) -> None:
        """Free the engines; using one again opens it again."""
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
