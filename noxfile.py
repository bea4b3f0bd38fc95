"""The project's checks, each in an environment of its own: `nox -l` lists them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests-3.11"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
UNDECLARED_LOWEST = ("keras==3.15.1", "h5py==3.11.0")
"""What is imported and comes with TensorFlow, at the lowest versions that work."""


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff and mypy."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run all tests with the newest versions."""
    session.install("-e", ".[test]")
    session.run("pytest", "--cov", *session.posargs)


@nox.session(python="3.11")
def minimum(session: nox.Session) -> None:
    """Run the short tests with the lowest versions that pyproject.toml allows."""
    lowest = [each.replace(">=", "==") for each in PROJECT["dependencies"]]
    session.install(*lowest, *UNDECLARED_LOWEST, "-e", ".[test]")
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Build the pages strictly, without TensorFlow and Keras."""
    light = [each for each in PROJECT["dependencies"] if not each.startswith("tensorflow")]
    session.install(*light, "h5py", *PROJECT["optional-dependencies"]["docs"])
    session.install("--no-deps", "-e", ".")
    session.run("python", "docs/_ext/tables.py", "--check")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")
    session.run("python", ".ci/check_docs.py", "build/docs")
