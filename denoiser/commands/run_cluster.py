"""The cluster of a run: connect to it, and bring all that its workers need to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from denoiser.commands import run_models
from denoiser.commands.run_options import Request
from denoiser.inference.denoiser import Denoiser

if TYPE_CHECKING:
    from denoiser.pipeline.cluster import Cluster
    from denoiser.pipeline.objects import Places
    from denoiser.storage.base import Entry, Storage


@contextlib.contextmanager
def connected(request: Request) -> Iterator[Cluster | None]:
    """Connect to the cluster, whose workers must fit; None without one."""
    if request.cluster is None:
        yield None
        return
    from denoiser.pipeline.cluster import Cluster

    path_map = dict(text.split("=", 1) for text in request.path_map)
    with Cluster(request.cluster, path_map) as cluster:
        yield cluster


def prepare(
    cluster: Cluster,
    request: Request,
    denoiser: Denoiser,
    made_with: str,
    out: Path | Storage,
    *,
    source: Path | None = None,
    places: Places | None = None,
    entry: tuple[int, Entry] | None = None,
) -> None:
    """Bring all that the workers need to them, and have them show that they can work.

    Args:
        cluster: connected.
        request: the options.
        denoiser: the driver's.
        made_with: the digest that the record keeps.
        out: the output: a folder, which exists, or a storage.
        source: as for `denoiser.pipeline.cluster.setup`, and so are the next two.
        places: where inputs and outputs are, if they are objects.
        entry: one of them.

    """
    from denoiser.pipeline import cluster as clusters

    setup = clusters.setup(
        denoiser,
        request.output(),
        settings=run_models.settings(request),
        plugins=request.plugins,
        installed_plugins=request.installed_plugins,
        plugin_options=request.plugin_options,
        made_with=made_with,
        source=source,
        places=places,
        entry=entry,
    )
    cluster.prepare(setup, out)
