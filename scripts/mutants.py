"""Changes the code in small ways, one at a time, and asks the tests whether they notice.

    python scripts/mutants.py [--sample 300] [--seed 0] [--from 1] [--only limelight/nn] [--anew]

The changes are mutmut's (another operator, number, argument, …); messages, annotations and checks of `zip` are left
alone. Lines are drawn evenly over the packages, then one change a line. Each change is given to the tests that run
its line, quick ones and differing ones first, until one fails. Which tests run a line is measured once, in one run of
the whole suite, and kept in build/mutants until `--anew`. The checkout is copied there and never changed.
A change that survives is either one that changes nothing that matters or a gap in the tests: read the list it prints.
Needs `pip install -e '.[test,mutation]'`; the first run takes some 15 minutes on two cores, then a change
that is noticed some 5 seconds and one that survives half a minute.
"""

import argparse
import difflib
import gc
import importlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import coverage
import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "mutants"
TREE, COVERAGE, TIMES = WORK / "tree", WORK / "coverage", WORK / "times.json"
PACKAGES = ("nn", "decode", "text", "look", "checkpoints", "train", "views", "serve")
MOST_SECONDS = 20.0  # of tests for one change, as they took unchanged
# What most tests import is imported once, before the fork: it takes longer than the tests that notice a change.
IMPORTED = (
    *("torch", "torch._dynamo", "tokenizers", "gguf", "jinja2", "typer", "numpy", "safetensors.torch", "rich.console"),
    *("hypothesis.strategies", "_hypothesis_pytestplugin", "anyio._backends._asyncio", "fastapi.testclient", "uvicorn"),
    *(
        f"transformers.models.{name}.modeling_{name}"
        for name in ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "gpt_neox")
    ),
)
NO_END = " (no end)"
PATIENCE = 5  # times as long is waited for a test that has not ended before that is believed
QUIET = ["-q", "--no-header", "--assert=plain", "-p", "no:cacheprovider"]


class Change(NamedTuple):
    path: str  # below the tree
    line: int  # where the changed expression begins
    lines: range  # the lines whose tests can notice it
    code: str  # the whole file, changed


class Changes(cst.CSTVisitor):
    """Every place of a file that may be changed, with what mutmut makes of it."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, range, cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.Annotation, cst.Import, cst.ImportFrom, cst.Raise, cst.Decorator)) or _is_quiet(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for changed in operator(node):
                    if _keeps_quiet_arguments(node, changed):
                        self.found.append((*self._place(node), node, changed))
        return True

    def _place(self, node: cst.CSTNode) -> tuple[int, range]:
        """Where it begins, and the lines that tests of it run: its own in the body of a function, all of the body for
        a default, all of the class or module for what stands there and is run once, on import."""
        begin, end = self._span(node)
        child, above = node, self.get_metadata(ParentNodeProvider, node)
        while not isinstance(above, (cst.FunctionDef, cst.ClassDef, cst.Module)):
            child, above = above, self.get_metadata(ParentNodeProvider, above)
        if isinstance(above, cst.Module):
            return begin, range(sys.maxsize)
        if isinstance(above, cst.FunctionDef) and child is above.body:
            return begin, range(begin, end + 1)
        first, last = self._span(above.body)
        return begin, range(first, last + 1)

    def _span(self, node: cst.CSTNode) -> tuple[int, int]:
        where = self.get_metadata(PositionProvider, node)
        return where.start.line, where.end.line


def _keeps_quiet_arguments(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Whether a call that loses an argument, or has None for one, has all of those left alone."""
    if not isinstance(node, cst.Call) or not isinstance(changed, cst.Call):
        return True
    return all(any(arg is kept for kept in changed.args) for arg in node.args if _is_quiet(arg))


def _is_quiet(node: cst.CSTNode) -> bool:
    """What is said to people or to the type checker, and what changes nothing when all is well."""
    if isinstance(node, cst.If):
        return isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING"
    if isinstance(node, (cst.SimpleString, cst.FormattedString, cst.ConcatenatedString)):
        return isinstance(node, cst.ConcatenatedString) or " " in cst.Module([]).code_for_node(node)
    if isinstance(node, cst.Arg) and node.keyword:
        return node.keyword.value in ("strict", "encoding", "help")
    if isinstance(node, cst.Call):
        name = cst.Module([]).code_for_node(node.func)
        return name in ("cast", "TypeVar", "isinstance", "print") or name.split(".")[0] in ("log", "logger", "warnings")
    if isinstance(node, cst.Subscript):
        return isinstance(node.value, cst.Name) and node.value.value in ("Callable", "Literal")
    if isinstance(node, cst.Assign):
        name = node.targets[0].target
        aliased = isinstance(node.value, cst.Subscript) and _is_quiet(node.value)
        return aliased or (isinstance(name, cst.Name) and name.value in ("__all__", "__slots__"))
    return False


def changes(path: str) -> dict[int, list[tuple[range, cst.Module, cst.CSTNode, cst.CSTNode]]]:
    """All changes of one file, by line."""
    wrapper = MetadataWrapper(cst.parse_module((TREE / path).read_text()), unsafe_skip_copy=True)
    visitor = Changes()
    wrapper.visit(visitor)
    lines = defaultdict(list)
    for line, span, node, changed in visitor.found:
        lines[line].append((span, wrapper.module, node, changed))
    return lines


def draw(sample: int, seed: int, only: str) -> Iterator[Change]:
    """Lines drawn evenly from all that can be changed, and one change for each."""
    dice = random.Random(seed)
    files = [
        path.relative_to(TREE).as_posix() for part in PACKAGES for path in (TREE / "limelight" / part).rglob("*.py")
    ]
    found = {path: changes(path) for path in sorted(files) if path.startswith(only)}
    places = [(path, line) for path, lines in found.items() for line in lines]
    for path, line in dice.sample(places, min(sample, len(places))):
        span, module, node, changed = dice.choice(found[path][line])
        yield Change(path, line, span, module.deep_replace(node, changed).code)


class Tests:
    """The tests that run a line, in the order in which they are asked."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = json.loads(TIMES.read_text())
        self.sound: set[str] = set()  # those that have been seen to pass without any change
        self.data = coverage.CoverageData(str(COVERAGE))
        self.data.read()

    def of(self, change: Change) -> list[str]:
        by_line = self.data.contexts_by_lineno(change.path)
        # What an import runs says nothing: it falls to the test that happened to come first.
        contexts = {context for line, names in by_line.items() if line in change.lines for context in names if context}
        tests = {context.rpartition("|")[0] for context in contexts} & self.seconds.keys()
        # A fixture that several tests share, or a cache, was run for the first of them only.
        shared = {context.partition("::")[0] for context in contexts if context.endswith("|setup")}
        if len(tests) < 4:
            shared |= {test.partition("::")[0] for test in tests} or {f"tests/{Path(change.path).parts[1]}/"}
        beside = {test for test in self.seconds if any(test.startswith(file) for file in shared)} - tests
        order = self._quick_and_differing(tests) + self._quick_and_differing(beside)
        chosen: list[str] = []
        seconds = 0.0
        for test in order:
            seconds += self.seconds[test] + 0.02
            if seconds > MOST_SECONDS and chosen:
                break
            chosen.append(test)
        return chosen

    def judge(self, change: Change, original: str, chosen: list[str]) -> tuple[str, str]:
        """Whether a change is noticed, and by which test. One that fails without the change, too, is no witness, and
        one that does not end is asked again with more time, for the machine may have been busy."""
        patience = 1
        while chosen:
            (TREE / change.path).write_text(change.code)
            try:
                outcome, test = ask(chosen, self.seconds, patience)
            finally:
                (TREE / change.path).write_text(original)
            witness = test.removesuffix(NO_END)
            if witness != test and patience == 1:
                patience = PATIENCE
                chosen = sorted(chosen, key=lambda test: test != witness)
                continue
            if outcome == "survived" or witness in self.sound:
                return outcome, test
            asked = [witness] if witness in self.seconds else chosen  # the change broke what the tests stand on
            if ask(asked, self.seconds, PATIENCE)[0] == "survived":
                self.sound.add(witness)
                return outcome, test
            if asked is chosen:
                sys.exit(f"these tests cannot be run: {' '.join(chosen)}")
            print(f"{witness} fails without any change and is not asked", flush=True)
            del self.seconds[witness]
            chosen = [test for test in chosen if test != witness]
        return "survived", "no test runs it"

    def _quick_and_differing(self, tests: set[str]) -> list[str]:
        """One case of each test before the second of any, the quick ones first."""
        ranks: Counter[str] = Counter()
        keys = {}
        for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
            name = test.partition("[")[0]
            keys[test] = (ranks[name], self.seconds[test], test)
            ranks[name] += 1
        return sorted(tests, key=keys.__getitem__)


class Watch:
    """A plugin of pytest that says which test runs and whether it failed."""

    def __init__(self, send: Connection) -> None:
        self.send = send

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.send.send(("runs", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.send.send(("noticed", report.nodeid))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.send.send(("noticed", report.nodeid))


def run_tests(tests: list[str], send: Connection) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (24 << 30, 24 << 30))
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    status = pytest.main(["-x", *QUIET, *tests], plugins=[Watch(send)])
    send.send(("survived", "") if status == pytest.ExitCode.OK else ("noticed", f"{status!r}"))
    send.close()
    os._exit(0)


def ask(tests: list[str], seconds: dict[str, float], patience: int) -> tuple[str, str]:
    """Whether one of the tests notices, and which. One that takes very much longer than before does."""
    receive, send = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=run_tests, args=(tests, send))
    process.start()
    send.close()
    now, wait = "collecting", 60.0 * patience
    try:
        while receive.poll(wait):
            kind, test = receive.recv()
            if kind != "runs":
                return kind, test
            now, wait = test, patience * (30 + 5 * seconds.get(test, 5))
        return "noticed", now + NO_END
    except EOFError:
        return "noticed", f"{now} (crash)"
    finally:
        if process.pid and process.is_alive():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not made its own group yet
                process.kill()
        process.join()


def measure() -> None:
    """Copies the checkout and runs all of its tests once, noting their times and the lines that each runs."""
    shutil.rmtree(WORK, ignore_errors=True)
    hidden = shutil.ignore_patterns(".*", "__pycache__", "build", "runs")
    shutil.copytree(ROOT, TREE, ignore=hidden)
    (WORK / "tmp").mkdir()
    settings = WORK / "coveragerc"
    settings.write_text(f"[run]\nsource = limelight\nrelative_files = true\ndata_file = {COVERAGE}\n")
    seconds, failed = Counter[str](), set[str]()

    class Clock:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            seconds[report.nodeid] += report.duration
            if report.failed:
                failed.add(report.nodeid)

    # In the checkout, not in its copy, of which coverage saw only some files. Paths are relative, to serve for both.
    os.environ["PYTHONPATH"] = str(ROOT)
    sys.path[:] = [str(ROOT), *(path for path in sys.path if path != str(TREE))]
    os.chdir(ROOT)
    measured = ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report=", "-n2", "--dist=worksteal"]
    pytest.main([*QUIET, *measured, "-W", "ignore::coverage.exceptions.CoverageWarning"], plugins=[Clock()])
    for test in failed:
        print(f"{test} fails without any change and is not asked")
    TIMES.write_text(json.dumps({test: took for test, took in seconds.items() if test not in failed}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="changes the code in small ways and asks the tests whether they notice"
    )
    parser.add_argument("--sample", type=int, default=300, help="how many lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, default=1, help="the number of the change to go on with")
    parser.add_argument("--only", default="", help="a package or file, such as limelight/nn")
    parser.add_argument("--anew", action="store_true", help="copy the checkout and measure which tests run which lines")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TREE), "PYTEST_DEBUG_TEMPROOT": str(WORK / "tmp")}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the file that is changed now is put back
    if args.anew or not TIMES.exists():
        # A process of its own, so that nothing of limelight is imported here.
        process = get_context("spawn").Process(target=measure)
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)
    sys.path.insert(0, str(TREE))  # not before it is there: Python would remember that it is none
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    os.chdir(TREE)
    tests, counts = Tests(), Counter[tuple[str, str]]()
    drawn = enumerate(draw(args.sample, args.seed, args.only), 1)
    for number, change in itertools.islice(drawn, args.first - 1, None):
        began, original, chosen = time.monotonic(), (TREE / change.path).read_text(), tests.of(change)
        outcome, test = tests.judge(change, original, chosen)
        counts[change.path.split("/")[1], outcome] += 1
        took = time.monotonic() - began
        print(f"{number} {outcome} {change.path}:{change.line} {test} {took:.1f} s", flush=True)
        if outcome == "survived":
            diff = difflib.unified_diff(original.splitlines(), change.code.splitlines(), n=0, lineterm="")
            print("\n".join([*list(diff)[3:], f"  {len(chosen)} tests"]), flush=True)
    for part in PACKAGES:
        print(f"{part:12} {counts[part, 'noticed']:4} noticed {counts[part, 'survived']:4} survived")
    noticed = sum(number for (_, outcome), number in counts.items() if outcome == "noticed")
    print(f"{noticed} of {counts.total()} noticed, before survivors that change nothing are taken off")


if __name__ == "__main__":
    main()
