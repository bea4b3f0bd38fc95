"""The recipes for clusters: the manifest fits Kubernetes' schema, and scripts are what a shell reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT

GUIDE = ROOT / "docs/guide/clusters.md"
MANIFEST = ROOT / "docs/guide/kubernetes-job.yaml"


@pytest.mark.parametrize(
    "change", [None, ("completions: 16", "completions: many"), ("  completionMode", "  mode")]
)
def test_the_manifest_fits_the_schema_of_kubernetes(change: tuple[str, str] | None, tmp_path: Path) -> None:
    import kubernetes_validate

    file = tmp_path / "job.yaml"
    text = MANIFEST.read_text()
    if change is not None:
        assert change[0] in text
        text = text.replace(*change)
    file.write_text(text)
    version = kubernetes_validate.latest_version()
    faults = kubernetes_validate.validate_file(str(file), version, strict=True, quiet=True, no_warn=True)
    assert bool(faults) is (change is not None)


def test_the_manifest_has_as_many_parts_as_pods() -> None:
    text = MANIFEST.read_text()
    numbers = re.search(r"completions: (\d+)", text), re.search(r"--shard, auto/(\d+)", text)
    assert numbers[0] is not None
    assert numbers[1] is not None
    assert numbers[0][1] == numbers[1][1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_scripts_are_what_a_shell_reads() -> None:
    scripts = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(scripts) >= 4
    for script in scripts:
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
