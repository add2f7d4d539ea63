"""A pytest plugin: engines that are started once per run and shared by xdist's workers, and a table of engines at the end."""

import os
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pytest

from tests.servers.engines import CORE, FINDERS, Engine, Engines

PROPERTY = "holdall_engine"
ENGINE_OF_DRIVER = {"asyncmy": "mysql"}  # a parameter may name a further driver
COLUMNS = ("engine", "version", "run", "passed", "failed", "skipped")


class EnginePlugin:
    """Starts the engines in the main process, hands them to workers, counts tests by the engines that they use.

    A test uses an engine by a fixture named in ``engine_of_fixture``, by a parameter whose value is the engine's name, or by
    ``@pytest.mark.engine("postgres")``.
    """

    def __init__(self, config: pytest.Config, engine_of_fixture: Mapping[str, str]) -> None:
        self._engine_of_fixture = engine_of_fixture
        self._worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
        self._engines = Engines()
        self._results: dict[str, tuple[str, tuple[str, ...]]] = {}
        if self._worker_input is not None:
            self._engines.found = {name: Engine(**facts) for name, facts in self._worker_input["holdall_engines"].items()}
        config.add_cleanup(self._engines.stop)

    def url(self, name: str) -> str:
        """Return the URL of a running engine; skip the test that asks when it is missing, fail it under ``CI=true``."""
        self._engines.start([name])
        engine = self._engines.found[name]
        if engine.url is not None:
            return engine.url
        message = f"{name} is missing: {engine.missing}"
        if _engines_are_demanded():
            pytest.fail(message, pytrace=False)
        pytest.skip(message)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            # Properties travel with the reports from the workers to the main process.
            item.user_properties.extend((PROPERTY, name) for name in self._engines_of(item))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        if self._worker_input is None and not session.config.option.collectonly:
            self._engines.start(sorted({name for item in session.items for name in self._engines_of(item)}))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self) -> None:
        self._engines.start(FINDERS)  # which tests were selected is known to the workers alone

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["holdall_engines"] = {name: asdict(engine) for name, engine in self._engines.found.items()}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = _outcome(report)
        if outcome is not None:
            engines = tuple(str(value) for key, value in report.user_properties if key == PROPERTY)
            self._results[report.nodeid] = (outcome, engines)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        demanded = self._missing() if _engines_are_demanded() else []
        if demanded and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield
        if self._worker_input is None and not session.config.option.collectonly:
            reporter: pytest.TerminalReporter | None = session.config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                self._write_table(reporter)
                for engine in demanded:
                    reporter.write_line(f"FAILED: CI=true demands every engine, and {engine.name} is missing: {engine.missing}", red=True)

    def _engines_of(self, item: pytest.Item) -> tuple[str, ...]:
        fixtures: Iterable[str] = getattr(item, "fixturenames", ())
        parameters = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        names = {self._engine_of_fixture[name] for name in fixtures if name in self._engine_of_fixture}
        names.update(ENGINE_OF_DRIVER.get(value, value) for value in parameters if isinstance(value, str))
        names.intersection_update(FINDERS)
        names.update(str(name) for marker in item.iter_markers("engine") for name in marker.args)
        return tuple(sorted(names)) or (CORE,)

    def _missing(self) -> list[Engine]:
        return [engine for engine in self._engines.found.values() if engine.missing is not None]

    def _write_table(self, reporter: pytest.TerminalReporter) -> None:
        counts = {name: Counter[str]() for name in FINDERS}
        for outcome, names in self._results.values():
            for name in names:
                counts[name][outcome] += 1
        rows = [_row(self._engines.found[name], count) for name, count in counts.items() if name in self._engines.found]
        whole = _row(Engine("all", ""), Counter(outcome for outcome, _ in self._results.values()))  # a test may use several engines
        for line in _aligned([COLUMNS, *rows, whole]):
            reporter.write_line(line)
        if not _engines_are_demanded():
            for engine in self._missing():
                reporter.write_line(f"{engine.name} is missing, its tests were skipped: {engine.missing}", yellow=True)


def _outcome(report: pytest.TestReport) -> str | None:
    """Return what the phase says of the test: its call, or a setup or teardown that did not pass."""
    if report.when == "call" or not report.passed:
        return "expected failure" if hasattr(report, "wasxfail") and report.skipped else report.outcome
    return None


def _row(engine: Engine, count: Counter[str]) -> tuple[str, ...]:
    run = count.total() - count["skipped"]
    return (engine.name, engine.version, str(run), str(count["passed"]), str(count["failed"]), str(count["skipped"]))


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return ["", lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _engines_are_demanded() -> bool:
    return os.environ.get("CI") == "true"
