"""Plugins that do what no plugin should: each fails its files in one line that names it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.files import noise_images, tree
from tests.helpers.processes import ROOT, Commands, Ended, error_of, run

HEAD = "from denoiser import hookimpl\n"
BAD = {
    "base": "class Odd(BaseException): pass\n@hookimpl\ndef preprocess(image): raise Odd('odd')\n",
    "generator": "@hookimpl\ndef preprocess(image): raise GeneratorExit\n",
    "silent": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\n    __repr__ = __str__\n"
        "@hookimpl\ndef preprocess(image): raise Odd\n"
    ),
    "exits": "@hookimpl\ndef postprocess(image): raise SystemExit(0)\n",
    "leaves": (
        "class Odd(Exception):\n    def __str__(self): raise SystemExit(3)\n    __repr__ = __str__\n"
        "@hookimpl\ndef preprocess(image): raise Odd\n"
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_a_plugin_raises_is_its_own(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, name: str
) -> None:
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(HEAD + BAD[name])
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 1, ended.err
    assert len(ended.errors) == 3
    assert all(f"plugin {name} failed in" in line for line in ended.errors)
    assert "Traceback" not in ended.err


CRASHES = {
    "reads": ("import ctypes; ctypes.string_at(0)", "signal 11"),
    "kills": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
    "aborts": ("import os; os.abort()", "signal 6"),
    "leaves": ("import os; os._exit(0)", "exit code 0"),
}


def crashing(folder: Path, name: str, hook: str) -> Path:
    """A plugin that ends its process at one of the images."""
    plugin = folder / f"{name}.py"
    body = f"@hookimpl\ndef {hook}(image):\n    if image.shape == (33, 70): {CRASHES[name][0]}\n"
    plugin.write_text(HEAD + body)
    return plugin


def require_one_failed(ended: Ended, out: Path, name: str, hook: str) -> None:
    """Require that one image failed, in a line that names the plugin, and that the others are there."""
    assert ended.code == 1, ended.err
    assert len(ended.errors) == 1, ended.err
    assert f"({CRASHES[name][1]}) in {hook} of plugin {name}." in ended.errors[0]
    assert "2 cleaned, 1 failed" in ended.err
    assert tree(out) == ["a.png", "box/c.tif"]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("name", CRASHES)
@pytest.mark.parametrize("hook", ["preprocess", "postprocess"])
def test_a_plugin_that_crashes_ends_one_file_and_is_named(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, name: str, hook: str
) -> None:
    plugin = crashing(tmp_path, name, hook)
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    require_one_failed(ended, tmp_path / "o", name, hook)
    assert "b.png can't be done: twice, the process at it " in ended.errors[0]


MODES: dict[str, tuple[object, ...]] = {
    "compare": ("--compare", "look"),
    "report": ("--report", "report.html"),
    "json": ("--json", "--strip-metadata"),
    "color": ("--color", "--jobs", 1),
    "keras": ("--engine", "keras"),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize(
    ("mode", "name"),
    [(mode, name) for mode in MODES for name in ("reads", "leaves") if (mode, name) != ("keras", "leaves")],
)
def test_a_plugin_that_crashes_ends_one_file_in_every_way_to_run(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, mode: str, name: str
) -> None:
    plugin = crashing(tmp_path, name, "preprocess")
    common = (scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    ended = command(*common, *MODES[mode], cwd=tmp_path, timeout=240)
    require_one_failed(ended, tmp_path / "o", name, "preprocess")
    if mode == "compare":
        assert tree(tmp_path / "look") == ["a.png.png", "box/c.tif.png"]
    if mode == "report":
        assert (tmp_path / "report.html").is_file()
    assert not list(tmp_path.rglob("*.denoise-tmp*"))
    plugin.write_text(f"{HEAD}@hookimpl\ndef preprocess(image): pass\n")
    again = command(*common, *MODES[mode], cwd=tmp_path, timeout=240)
    assert again.code == 0, again.err
    assert "3 cleaned" in again.err


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_a_plugin_that_raises_an_interruption_of_its_own_is_named(
    command: Commands, scans: Path, identity: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        f"{HEAD}@hookimpl\ndef preprocess(image):\n    if image.shape == (33, 70): raise KeyboardInterrupt\n"
    )
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 1, ended.err
    assert len(ended.errors) == 1
    assert "in preprocess of plugin odd." in ended.errors[0]
    assert "2 cleaned, 1 failed" in ended.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hook", ["preprocess(image)", "write_pages(path, pages)"])
def test_a_plugin_that_is_deaf_to_signals_does_not_keep_the_run(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, number: int, hook: str
) -> None:
    plugin = tmp_path / "deaf.py"
    plugin.write_text(
        f"{HEAD}import signal, time\nSUFFIXES = ('.png',)\n@hookimpl\ndef {hook}:\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"    open({str(tmp_path / 'begun')!r}, 'w').close()\n    while True: time.sleep(1)\n"
    )
    ended = command(
        *(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin, "--compare", "look"),
        cwd=tmp_path,
        timeout=60,
        kill=(5.0, number, "parent"),
    )
    assert (tmp_path / "begun").exists()
    assert not ended.hung
    assert ended.code == 130
    assert "Interrupted: " in ended.err
    assert not list(tmp_path.rglob("*.denoise-tmp*"))
    with pytest.raises(ProcessLookupError):
        os.killpg(ended.pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_many_files_are_compared_by_several_processes_as_by_one(
    command: Commands, flattener: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    (tmp_path / "in").mkdir()
    for index in range(300):
        Image.fromarray(rng.integers(0, 256, (20, 24), np.uint8)).save(tmp_path / f"in/{index}.png")
    made = {}
    for jobs in (1, 2):
        places = ("--out", tmp_path / f"o{jobs}", "--compare", tmp_path / f"look{jobs}")
        common = (tmp_path / "in", *places, "--model", flattener, "--jobs", jobs)
        ended = command(*common)
        assert "300 cleaned" in ended.err, ended.err
        made[jobs] = {
            path.name: path.read_bytes()
            for name in ("o", "look")
            for path in (tmp_path / f"{name}{jobs}").glob("*.png")
        }
        assert "300 up to date" in command(*common).err
    assert len(made[1]) == 600
    assert made[1] == made[2]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("hook", ["read_pages", "write_pages"])
@pytest.mark.parametrize("body", ["raise SystemExit(0)", "import os; os.abort()"])
def test_a_plugin_that_ends_while_it_reads_or_writes_is_named(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, hook: str, body: str
) -> None:
    argument = "path" if hook == "read_pages" else "path, pages"
    plugin = tmp_path / "odd.py"
    plugin.write_text(f"{HEAD}SUFFIXES = ('.tif',)\n@hookimpl\ndef {hook}({argument}):\n    {body}\n")
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 1, ended.err
    assert len(ended.errors) == 1
    assert "c.tif" in ended.errors[0]
    assert "plugin odd" in ended.errors[0]
    assert hook in ended.errors[0]
    assert tree(tmp_path / "o") == ["a.png", "b.png"]


@pytest.mark.parametrize("body", ["class Odd(BaseException): pass\nraise Odd\n", "raise GeneratorExit\n"])
def test_whatever_a_plugin_raises_at_loading_is_its_own(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, body: str
) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(body)
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 3, ended.err
    assert len(ended.errors) == 1
    assert "bad.py fails on loading" in ended.errors[0]


ENDS = {
    "os._exit(0)": "import os\nos._exit(0)\n",
    "os._exit(3)": "import os\nos._exit(3)\n",
    "os.abort()": "import os\nos.abort()\n",
    "a segmentation fault": "import ctypes\nctypes.string_at(0)\n",
}


@pytest.mark.skipif(os.name == "nt", reason="a shell says what happened")
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("installed", [False, True])
def test_a_plugin_that_ends_the_process_while_it_loads_is_named(
    scans: Path, identity: Path, tmp_path: Path, how: str, *, installed: bool
) -> None:
    """Nothing that it does makes the run a success, such as after which a script removes the inputs."""
    packages = tmp_path / "packages"
    packages.mkdir()
    plugin = packages / "bad.py"
    plugin.write_text(ENDS[how])
    info = packages / "bad_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    common = (scans, "--out", tmp_path / "o", "--model", identity)
    if installed:
        (info / "entry_points.txt").write_text("[denoiser]\nbad = bad\n")
        ended = run(*common, PYTHONPATH=os.pathsep.join(map(str, (ROOT, packages))))
    else:
        ended = run(*common, "--plugin", plugin)
    told = error_of(ended)
    if how.startswith("os._exit"):
        assert ended.returncode == 3
        assert f"SystemExit: {how} ends the process" in told
        assert "The installed plugin bad (bad-plugin 1.0) can't be" in told if installed else "bad.py" in told
    else:
        assert ended.returncode < 0  # the signal's, which no shell takes for a success
        assert f"The process ended while the plugin {'bad' if installed else plugin} was loaded." in told
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_a_plugin_may_end_its_own_processes_while_it_loads(
    scans: Path, identity: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "forks.py"
    plugin.write_text(
        f"{HEAD}import os\nfrom os import _exit\nchild = os.fork()\nif not child: _exit(5)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5\n"
        "@hookimpl\ndef preprocess(image):\n    if image.shape == (33, 70): _exit(6)\n"
    )
    ended = run(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.returncode == 1
    assert "(exit code 6) in preprocess of plugin forks." in error_of(ended)


THREADS = f"{HEAD}import threading, time\ndef forever():\n    while True: time.sleep(0.1)\n"
WHERE = {
    "import": (
        "threading.Thread(target=forever, name='odd thread').start()\n"
        "@hookimpl\ndef preprocess(image): pass\n"
    ),
    "hook": (
        "@hookimpl\ndef preprocess(image):\n"
        "    if threading.active_count() == 1: threading.Thread(target=forever, name='odd thread').start()\n"
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("files", "jobs"), [(300, 2), (300, 1), (1, 2)])
def test_a_thread_that_never_ends_does_not_keep_the_run(
    identity: Path, tmp_path: Path, where: str, files: int, jobs: int
) -> None:
    images = noise_images(tmp_path / "in", files)
    plugin = tmp_path / "odd.py"
    plugin.write_text(THREADS + WHERE[where])
    ended = run(images, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin, "--jobs", jobs)
    assert ended.returncode == 0, ended.stderr
    assert f"{files} cleaned" in ended.stderr
    assert tree(tmp_path / "o") == tree(images)
    told = [line for line in ended.stderr.splitlines() if "a thread of a plugin goes on (odd thread)" in line]
    assert len(told) == 1, ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize(("files", "jobs"), [(300, 2), (1, 1)])
def test_a_thread_that_outlives_its_hook_ends_its_work(
    identity: Path, tmp_path: Path, files: int, jobs: int
) -> None:
    images = noise_images(tmp_path / "in", files)
    made = tmp_path / "made"
    made.mkdir()
    plugin = tmp_path / "late.py"
    plugin.write_text(
        f"{THREADS}threading.Thread(target=forever, daemon=True).start()\n"
        f"def late(name):\n    time.sleep(1)\n    open({str(made)!r} + '/' + name, 'w').close()\n"
        "@hookimpl\ndef preprocess(image, page):\n"
        "    threading.Thread(target=late, args=(page.path.name,)).start()\n"
    )
    ended = run(images, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin, "--jobs", jobs)
    assert ended.returncode == 0, ended.stderr
    assert tree(tmp_path / "o") == tree(made) == tree(images)
    assert "goes on" not in ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_a_run_that_is_killed_leaves_no_process_with_a_thread_that_never_ends(
    command: Commands, identity: Path, tmp_path: Path
) -> None:
    images = noise_images(tmp_path / "in", 300)
    plugin = tmp_path / "odd.py"
    plugin.write_text(f"{THREADS}{WHERE['hook']}    time.sleep(0.1)\n")
    places = ("--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    ended = command(images, *places, "--jobs", 2, kill=(2.0, signal.SIGKILL, "parent"))
    assert ended.killed
    until = time.monotonic() + 60
    while True:
        try:
            os.killpg(ended.pid, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize("hook", ["preprocess(image)", "postprocess(image)"])
def test_a_plugin_that_exits_where_nothing_can_be_forked_fails_one_file(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, hook: str
) -> None:
    """Not even then is the run a success before its end: os._exit(0) would be one to whoever started it."""
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        f"{THREADS}import os\nthreading.Thread(target=forever, daemon=True).start()\n"
        f"@hookimpl\ndef {hook}:\n    if image.shape == (33, 70): os._exit(0)\n"
    )
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 1, ended.err
    assert len(ended.errors) == 1
    hook = hook.partition("(")[0]
    assert f"plugin odd failed in {hook}: SystemExit: os._exit(0) ends the process." in ended.errors[0]
    assert "2 cleaned, 1 failed" in ended.err
