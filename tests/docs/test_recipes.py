"""The recipes for clusters are run: as they stand in the guide, with schedulers' commands of the tests' own.

What a scheduler does around them is the least that is needed: it starts a script, in an environment that says
which task of an array it is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.files import recorded, tree
from tests.helpers.processes import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs a shell, and processes as Linux has them"),
]

GUIDE = ROOT / "docs/guide/clusters.md"
MANIFEST = ROOT / "docs/guide/kubernetes-job.yaml"
FILES, PARTS = 300, 3  # parts are dealt out 64 files at a time

SBATCH = """#!/bin/sh
job=$(mktemp "$SHARED/job.XXXXXX")
cp "$1" "$job"  # as Slurm does: the script may be gone soon
nohup sh "$job" >> "$SHARED/job.log" 2>&1 &
echo $! >> "$SHARED/jobs"
echo "Submitted batch job $!"
"""
SRUN = """#!/bin/sh
"$@" &
"$@" &
wait
"""
SSH = """#!/bin/sh
shift
exec sh -c "$*"
"""


class Site:
    """A shared folder with scans, and the commands that recipes call."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.shared = folder / "shared"
        self._commands = folder / "bin"
        self._commands.mkdir()
        self.put("denoise", f'#!/bin/sh\nexec {sys.executable} -m denoiser "$@" --model {model}\n')
        self.put("dask", f'#!/bin/sh\nexec {sys.executable} -m dask "$@"\n')
        for index in range(FILES):
            path = self.shared / "scans" / f"box {index % 2}" / f"{index}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (28, 28), index % 256).save(path)

    def put(self, name: str, script: str) -> None:
        """Add a command."""
        path = self._commands / name
        path.write_text(script)
        path.chmod(0o755)

    def environment(self, **variables: object) -> dict[str, str]:
        """What a task is started with."""
        path = os.pathsep.join((str(self._commands), os.environ["PATH"]))
        own = {"PATH": path, "SHARED": str(self.shared), "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own, **{name: str(value) for name, value in variables.items()}}

    def run(self, script: str, **variables: object) -> str:
        """Run a script that speaks of /shared; returns what it says. What it leaves behind is ended."""
        process = subprocess.Popen(
            ["sh", "-e"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.shared,
            env=self.environment(**variables),
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(script.replace("/shared", str(self.shared)))
            process.stdin.close()
            code = process.wait(240)
        finally:
            with contextlib.suppress(ProcessLookupError):  # as a scheduler does at the end of a job
                os.killpg(process.pid, signal.SIGTERM)
        text = process.stdout.read()
        assert code == 0, text
        return text

    def results(self) -> list[str]:
        return tree(self.shared / "clean")


@pytest.fixture
def site(tmp_path: Path, identity: Path) -> Site:
    return Site(tmp_path, identity)


def recipe(language: str, mark: str) -> str:
    """The block of the guide that has these words."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    found = [block for block in blocks if mark in block]
    assert len(found) == 1
    return str(found[0])


def changed(text: str, *pairs: tuple[str, str]) -> str:
    """A recipe for fewer machines."""
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    return text


def writers(site: Site) -> set[str]:
    return {path.stem for path in (site.shared / "clean/.denoise").glob("*.jsonl")}


def test_a_slurm_array_of_which_one_task_is_sent_again(site: Site) -> None:
    script = changed(recipe("sh", "--array=0-15"), ("0-15", "0-2"), ("auto/16", f"auto/{PARTS}"))
    assert "#SBATCH --array=0-2 " in script
    for index in range(PARTS):
        text = site.run(script, SLURM_ARRAY_TASK_ID=index, SLURM_CPUS_PER_TASK=1)
        assert f"part {index}/{PARTS}" in text
    assert site.results() == tree(site.shared / "scans")
    assert writers(site) == {f"shard-{index}-of-{PARTS}" for index in range(PARTS)}
    before = recorded(site.shared / "clean")
    assert " up to date." in site.run(script, SLURM_ARRAY_TASK_ID=1, SLURM_CPUS_PER_TASK=1)
    assert recorded(site.shared / "clean") == before
    # Without a number of parts, Slurm's own numbers say it.
    plain = changed(script, (f"auto/{PARTS}", "auto"))
    text = site.run(
        plain,
        **{
            "SLURM_ARRAY_TASK_ID": 7,
            "SLURM_ARRAY_TASK_MIN": 5,
            "SLURM_ARRAY_TASK_MAX": 7,
            "SLURM_ARRAY_TASK_COUNT": PARTS,
            "SLURM_CPUS_PER_TASK": 1,
        },
    )
    assert " up to date." in text


def test_the_command_of_a_kubernetes_job_with_its_index(site: Site) -> None:
    yaml: Any = pytest.importorskip("yaml")
    job = yaml.safe_load(MANIFEST.read_text())["spec"]
    container = job["template"]["spec"]["containers"][0]
    assert job["completionMode"] == "Indexed"  # which sets the variable
    command = [*container["command"], *container["args"]]
    mount = container["volumeMounts"][0]["mountPath"]
    assert f"auto/{job['completions']}" in command
    command = [each.replace(f"{mount}/", f"{site.shared}/") for each in command]
    command[command.index(f"auto/{job['completions']}")] = f"auto/{PARTS}"
    for index in range(PARTS):
        done = subprocess.run(
            command,
            env=site.environment(JOB_COMPLETION_INDEX=index),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert f"part {index}/{PARTS}" in done.stderr
    assert site.results() == tree(site.shared / "scans")


def test_a_list_in_parts(site: Site) -> None:
    script = changed(recipe("sh", "find /shared/scans"), ("auto/16", f"auto/{PARTS}"))
    for index in range(PARTS):
        site.run(script, SLURM_ARRAY_TASK_ID=index)
    assert site.results() == tree(site.shared / "scans")


@pytest.mark.parametrize("way", ["srun", "ssh"])
def test_workers_that_a_script_starts(site: Site, way: str) -> None:
    pytest.importorskip("distributed")
    if way == "srun":
        site.put("srun", SRUN)
        script = recipe("sh", "srun dask worker")
    else:
        site.put("ssh", SSH)
        script = changed(recipe("sh", "ssh $host"), ("n1 n2 n3", "n1 n2"), ("--nworkers 16", "--nworkers 1"))
    text = site.run(script, SLURM_JOB_ID=77)
    assert re.search(rf"\d workers? of {site.shared}/scheduler", text), text
    assert f"{FILES} cleaned" in text
    assert site.results() == tree(site.shared / "scans")


# It isn't imported here, as it takes over the handling of Ctrl-C where it is.
@pytest.mark.skipif(importlib.util.find_spec("dask_jobqueue") is None, reason="dask-jobqueue isn't there")
def test_dask_jobqueue_submits_workers(site: Site, tmp_path: Path) -> None:
    site.put("sbatch", SBATCH)
    site.put("scancel", '#!/bin/sh\nkill "$@"\n')
    script = changed(
        recipe("python", "SLURMCluster"), ("scale(64)", "scale(2)"), ("/shared", str(site.shared))
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=site.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
        )
        log = site.shared / "job.log"
        assert f"{FILES} cleaned" in done.stderr, (done.stderr, log.exists() and log.read_text())
        assert len((site.shared / "jobs").read_text().split()) == 2
    finally:
        for pid in (site.shared / "jobs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
    assert site.results() == tree(site.shared / "scans")
