"""The tasks of a contributor: ``nox -l`` lists them, ``nox -s fast`` runs one in the environment that is active."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["fast", "lint", "types"]
SOURCES = ("braincli", "tests", "examples", "benchmarks", "noxfile.py")


@nox.session
def fast(session: nox.Session) -> None:
    """Tests that are neither slow nor left to CI."""
    session.run("pytest", "-m", "not (slow or real or long)", *session.posargs)


@nox.session
def test(session: nox.Session) -> None:
    """All tests, those on real scans and the long ones as well; coverage is printed."""
    session.run("pytest", "-m", "", "--cov=braincli", "--cov-report=term:skip-covered", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, imports and format; mended where that is safe."""
    session.run("ruff", "check", "--fix", *SOURCES)
    session.run("ruff", "format", *SOURCES)


@nox.session
def types(session: nox.Session) -> None:
    """mypy over the package, benchmarks and examples."""
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """What README and docs say against the code (method table, options, links, rooms), and the site in ``site/``."""
    session.run("mkdocs", "build", "--strict", "--quiet")
    session.run("pytest", "tests/test_readme.py", "tests/test_docs.py", "tests/test_examples.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """One benchmark by name (``nox -s bench -- detect``); without a name, all that need no data, in one table."""
    if not session.posargs:
        session.run("python", "-m", "benchmarks")
        return
    name, *rest = session.posargs
    session.run("python", f"benchmarks/{name}.py", *rest)


@nox.session
def ci(session: nox.Session) -> None:
    """Everything that must hold, on a bare machine."""
    session.run("bash", ".ci/run", external=True)
