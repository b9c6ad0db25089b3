"""Speculative decoding: guesses change how many steps a text takes, and no token of it."""

import pytest
import torch
from hashed_model import HashedModel
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.decode import Sampling, collect, generate
from limelight.decode.draft import Lookup, Smaller
from limelight.errors import RequestError
from limelight.nn.state import State


class Forgetful(HashedModel):
    """Sees only the last two tokens of a text, so that what it writes comes round again."""

    def scores(self, prefix: tuple[int, ...]) -> torch.Tensor:
        return super().scores(prefix[-2:])


class Invariant(Forgetful):
    """One that says that a step of several tokens gives the bits of several steps."""

    batch_invariant = True


class Recurrent(Forgetful):
    """One whose steps cannot be taken back."""

    def start(self, rows: int, room: int) -> State:
        state = super().start(rows, room)
        state.rewinds = False
        return state


class Tilted(Forgetful):
    """Another model than `Forgetful`, though often of the same opinion."""

    def scores(self, prefix: tuple[int, ...]) -> torch.Tensor:
        noise = torch.randn(self.vocab, generator=torch.Generator().manual_seed(len(prefix)))
        return super().scores(prefix) + 0.8 * noise


SAMPLINGS = [
    Sampling(),
    Sampling(repetition=1.3, presence=0.5),
    Sampling(temperature=0.7, seed=5),
    Sampling(temperature=1.1, top_k=12, top_p=0.9, frequency=0.2, seed=6),
]
DRAFTS = ["lookup", Tilted(), Recurrent(), Forgetful(context=30)]


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=20), min_size=1, max_size=4),
    st.integers(1, 40),
    st.sampled_from(SAMPLINGS),
    st.sampled_from(DRAFTS),
    st.integers(20, 60),
)
@settings(max_examples=100, deadline=None)
def test_guesses_change_no_token(
    prompts: list[list[int]], n: int, sampling: Sampling, draft: object, context: int
) -> None:
    options = {"max_tokens": n, "sampling": sampling, "stop": frozenset({7}), "logprobs": 2}
    plain = collect(generate(Forgetful(context=context), prompts, **options))
    assert collect(generate(Forgetful(context=context), prompts, draft=draft, **options)) == plain


@pytest.mark.parametrize(("draft", "steps"), [("lookup", 60), (Tilted(), 90), (Forgetful(), 41), (Recurrent(), 41)])
def test_guesses_save_steps(draft: object, steps: int) -> None:
    model = Forgetful()
    (row,) = collect(generate(model, [[1, 2]], max_tokens=201, draft=draft))
    assert row.ids == Forgetful().greedy([1, 2], 201)
    assert len(model.calls) <= steps  # without guesses 201


def test_by_itself_only_a_text_alone_guesses_and_only_where_it_is_exact() -> None:
    def steps(model: Forgetful, prompts: list[list[int]]) -> int:
        found = collect(generate(model, prompts, max_tokens=201))
        assert found == collect(generate(Forgetful(), prompts, max_tokens=201, draft=None))
        return len(model.calls)

    assert steps(Invariant(), [[1, 2]]) <= 70
    assert steps(Invariant(), [[1, 2], [2, 1]]) == steps(Forgetful(), [[1, 2]]) == 201
    assert steps(Recurrent(), [[1, 2]]) == 201


def test_a_model_that_guesses_right_is_asked_no_more_than_that() -> None:
    model, draft = Forgetful(), Forgetful()
    collect(generate(model, [[1, 2, 3]], max_tokens=11, draft=draft))
    assert [T for _, T, _ in model.calls] == [3, 5, 5]
    assert [T for _, T, _ in draft.calls] == [4, 1, 1, 1, 5, 1, 1, 1]


def test_the_distribution_is_the_models_own() -> None:
    # 400 texts with a draft of another opinion: how often each token comes third is what the model alone says.
    model, draft = Forgetful(vocab=4), Tilted(vocab=4)
    prompts = [[1, 2]] * 400
    rows = collect(generate(model, prompts, max_tokens=3, sampling=Sampling(temperature=1.0, seed=1), draft=draft))
    first = model.scores((1, 2)).softmax(0)
    second = torch.stack([model.scores((2, a)).softmax(0) for a in range(4)])  # [a, b]
    third = torch.stack([torch.stack([model.scores((a, b)).softmax(0) for b in range(4)]) for a in range(4)])
    expected = torch.einsum("a,ab,abc->c", first, second, third)
    found = torch.bincount(torch.tensor([row.ids[2] for row in rows]), minlength=4) / 400
    assert torch.allclose(found, expected, atol=4 * 0.5 / 400**0.5)  # four standard deviations at most
    assert draft.calls


def test_lookup_guesses_more_the_longer_it_is_right() -> None:
    draft = Lookup()
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9] * 4
    at, sizes = 11, []
    while at + 8 < len(text):
        guess = draft.propose(text[:at], 100)
        assert guess == text[at : at + len(guess)]
        sizes.append(len(guess))
        at += len(guess) + 1
    assert sizes == [1, 2, 4, 8]
    assert draft.propose([*text, 77], 100) == []
    assert draft.propose([*text, 77, 1, 2], 100) == [3, 4, 5, 6, 7, 8, 9, 77]
    assert draft.propose([*text, 77, 1, 2, 78, 1, 2], 100) == [78], "wrong the last time"
    assert draft.propose([*text, 77, 1, 2, 78, 1, 2, 3], 0) == []


def test_a_wary_lookup_first_sees_that_it_would_be_right() -> None:
    draft = Lookup(wary=True)
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 4
    sizes = []
    at = 12
    while at + 8 < len(text):
        guess = draft.propose(text[:at], 100)
        assert guess == text[at : at + len(guess)]
        sizes.append(len(guess))
        at += len(guess) + 1
    assert sizes == [0, 1, 2, 4, 8]
    other = [*text[:at], *draft.propose(text[:at], 100)[:-1], 77, 1, 2]
    assert draft.propose(other, 100) == [], "wrong the last time"
    assert draft.propose([*other, 3], 100) == [4]


def test_lookup_goes_round_with_a_text_that_does() -> None:
    draft, text = Lookup(), [3, 3, 3, 3]
    sizes = []
    for _ in range(5):
        guess = draft.propose(text, 100)
        text += [*guess, 3]
        sizes.append(len(guess))
    assert sizes == [1, 2, 4, 8, 8]
    assert set(text) == {3}


def test_lookup_prefers_the_longer_match_and_the_later_one() -> None:
    assert Lookup().propose([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 1) == [4]
    assert Lookup().propose([1, 2, 7, 1, 2, 8, 1, 2], 1) == [8]
    assert Lookup().propose([1, 2, 3], 1) == []
    assert Lookup().propose([1], 1) == []


def test_a_smaller_model_reads_long_texts_in_chunks_and_ends_with_its_context() -> None:
    model = Forgetful(context=1500)
    draft = Smaller(model, 2000)
    text = [at % 50 for at in range(1400)]
    assert draft.propose(text, 3) == model.greedy(text, 3)
    assert max(T for _, T, _ in model.calls) == 512
    assert len(draft.propose([*text, *[1] * 99], 3)) == 2
    assert draft.propose([*text, *[1] * 101], 3) == []


def test_drafts_that_cannot_be_used_are_refused_at_once() -> None:
    with pytest.raises(RequestError, match="recurrent model cannot take back what it read"):
        generate(Recurrent(), [[1]], max_tokens=3, draft="lookup")
    with pytest.raises(RequestError, match="vocabulary of 40 and the model one of 50: they must share their tokenizer"):
        generate(Forgetful(), [[1]], max_tokens=3, draft=Forgetful(vocab=40))
