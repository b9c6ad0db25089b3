"""What the kernels do where another program wants a core: a rule about threads that come late, not a timing."""

import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
sys.path.insert(0, str(Path(__file__).parents[2]))

from hatch_build import build
from limelight.quant.native import SOURCES

PROGRAM = f"""
#include <atomic>
#include <chrono>
#include <cstdint>
#include <dlfcn.h>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#define INLINE inline
#include "{SOURCES / "threads.h"}"

extern "C" void teams(int threads, const char* late, int count, int* made) {{
    Contest contest;
    for (int i = 0; i < count; i++) {{
        made[i] = contest.team(threads);
        if (threads > 1) contest.token(made[i] == threads, late[i]);
    }}
}}
"""
Teams = Callable[[int, Sequence[bool]], list[int]]


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Teams:
    """How many threads make each token, given which tokens a thread comes late to if all of them make it."""
    source = tmp_path_factory.mktemp("threads") / "rule.cpp"
    source.write_text(PROGRAM, encoding="utf-8")
    library = source.with_name("rule.so")
    problem = build(source, library)
    if problem and problem.startswith("there is no C++ compiler"):
        pytest.skip(problem)
    assert problem is None
    function = ctypes.CDLL(str(library)).teams

    def run(threads: int, late: Sequence[bool]) -> list[int]:
        made = (ctypes.c_int * len(late))()
        function(threads, bytes(late), len(late), made)
        return list(made)

    return run


def runs(made: Sequence[int], threads: int) -> list[int]:
    """How many tokens one behind the other were made without a thread, each time."""
    return [len(run) for run in "".join("x" if team < threads else " " for team in made).split()]


lateness = st.lists(st.booleans(), min_size=1, max_size=300)


@given(lateness, st.integers(1, 8))
def test_at_most_one_thread_is_done_without_and_only_behind_a_late_one(
    teams: Teams, late: list[bool], threads: int
) -> None:
    made = teams(threads, late)
    assert made[0] == threads
    assert set(made) <= {threads, max(1, threads - 1)}
    for before, now, came_late in zip(made, made[1:], late, strict=False):
        if before == threads and threads > 1:
            assert now == (threads - 1 if came_late else threads)
    assert all(2 <= run <= 64 for run in runs(made, threads)[:-1])


def test_beside_a_program_that_stays_it_tries_again_ever_more_rarely(teams: Teams) -> None:
    made = teams(2, [True] * 400)
    assert runs(made, 2)[:7] == [2, 4, 8, 16, 32, 64, 64]
    assert made.count(2) == 11  # tokens of 400 that had to wait


@given(lateness)
def test_soon_after_the_program_has_left_all_threads_are_back(teams: Teams, late: list[bool]) -> None:
    quiet = teams(4, [*late, *[False] * 200])[len(late) :]
    assert quiet == sorted(quiet)
    assert quiet[64:] == [4] * 136


def test_a_thread_that_is_late_now_and_then_costs_little(teams: Teams) -> None:
    made = teams(2, [at % 100 == 0 for at in range(1000)])
    assert runs(made, 2) == [2] * 10, "what was learned is forgotten by the next time"
