"""The engine over encoder–decoders: whoever joins, leaves or is put out, each text is what it would be alone."""

import pytest
import torch
from references import SEQ2SEQ

from limelight.decode import Engine, Generated, Request, Sampling, beam_search, collect, generate
from limelight.errors import RequestError
from limelight.models import config as c
from limelight.models.api import Seq2Seq, begin
from limelight.models.build import build
from limelight.models.presets import preset
from limelight.models.registry import config_from_hf
from limelight.quant import fuse, native, quantise

VOCAB, START, MOST = 61, 1, 45
STOP = frozenset({7})
LENGTHS = (5, 40, 1, 17, 40, 9, 2)
SOURCES = [[(at * at * (3 + row) + row) % (VOCAB - 2) + 2 for at in range(n)] for row, n in enumerate(LENGTHS)]
PROMPTS = [[START], [START, 4], [START], [START, 9, 8, 7, 6, 5], [START], [START, 3], [START]]
PAIRS = list(zip(PROMPTS, SOURCES, strict=True))
GREEDY = Sampling()
DRAWN = Sampling(temperature=0.8, repetition=1.2, seed=2)


def post_norm() -> c.ModelConfig:
    attention = c.Attention(4, 4, 16, 16**-0.5, bias=True, out_bias=True)

    def stack(cross: c.Attention | None) -> c.TransformerStack:
        block = c.Block(attention, c.FeedForward(96, "relu"), c.LayerNorm(1e-5), "post", cross)
        return c.TransformerStack(64, (block,) * 2, None, c.Embeddings(64**0.5, c.Sinusoidal()))

    head = c.LMHead(tied=False)
    return c.ModelConfig("limelight-transformer2017", VOCAB, 64, stack(attention), head, encoder=stack(None))


def recurrent(attention: object, direction: str) -> c.ModelConfig:
    encoder = c.RecurrentStack("lstm", 32, 2, direction)
    decoder = c.RecurrentStack("lstm", 32, 2, attention=attention)
    return c.ModelConfig("limelight-recurrent", VOCAB, 64, decoder, c.LMHead(tied=False), encoder=encoder)


CONFIGS = {
    "post-norm": post_norm(),
    "modern": preset("transformer-modern-tiny", VOCAB, width=64, dropout=0.0, source_vocab=VOCAB, context=64),
    "plain": recurrent(None, "backward"),
    "Bahdanau": recurrent(c.AdditiveAttention(), "both"),
    "Luong": recurrent(c.DotAttention(), "both"),
    "T5": config_from_hf(SEQ2SEQ["t5"].to_dict()),
}
RECURRENT = ("plain", "Bahdanau", "Luong")
FUSED = ("post-norm fused", "modern fused")


def made(name: str, seed: int = 0) -> Seq2Seq:
    network = build(CONFIGS[name.removesuffix(" fused")])
    assert isinstance(network, Seq2Seq)
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for place, parameter in network.named_parameters():  # a visible spread, so that sources make a difference
            scale = (
                0.5 if parameter.ndim > 1 and name not in RECURRENT else 0.3
            )  # where rounding would grow, step by step
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(noise + 1 if place.endswith("norm.weight") else noise)
    if name in FUSED:
        if not native.KERNELS:
            pytest.skip("the compiled kernels are not built")
        fuse(quantise(network))
        assert network.decoder.cache_dtype is native.half(0), "the kernels do not run this stack"
    return network


@pytest.fixture(scope="module", params=[*CONFIGS, *FUSED])
def network(request: pytest.FixtureRequest) -> Seq2Seq:
    return made(request.param)


@pytest.fixture(scope="module")
def alone(network: Seq2Seq) -> dict[Sampling, list[Generated]]:
    """What each prompt gives behind its source by itself."""
    return {sampling: lone(network, sampling) for sampling in (GREEDY, DRAWN)}


def lone(network: Seq2Seq, sampling: Sampling) -> list[Generated]:
    options = {"max_tokens": MOST, "sampling": sampling, "stop": STOP, "logprobs": 0}
    return [collect(generate(network, [prompt], sources=[source], **options))[0] for prompt, source in PAIRS]


def ids(found: Generated) -> list[int]:
    return [token.id for token in found.tokens]


@torch.inference_mode()
def likeliest(network: Seq2Seq, prompt: list[int], source: list[int], text: list[int]) -> list[int]:
    """The likeliest token behind the prompt and behind each of the text's but its last, all read at once from the
    beginning, without any of the code under test."""
    read = torch.tensor([[*prompt, *text[:-1]]])
    found: list[int] = network(torch.tensor([source]), None, read)[0, len(prompt) - 1 :].argmax(-1).tolist()
    return found


def test_greedy_is_what_is_likeliest_and_a_beam_of_one(
    network: Seq2Seq, alone: dict[Sampling, list[Generated]]
) -> None:
    found = [ids(each) for each in alone[GREEDY]]
    first = {each.tokens[0].logprob for each, prompt in zip(alone[GREEDY], PROMPTS, strict=True) if prompt == [START]}
    assert len(first) == PROMPTS.count([START]), "what the sources say is heard"
    for (prompt, source), each in zip(PAIRS, found, strict=True):
        assert each == likeliest(network, prompt, source, each)
        assert len(each) == next((n for n, token in enumerate(each, 1) if token in STOP), MOST)
        with torch.inference_mode():
            state = begin(network, 1, len(prompt) + MOST, [source])
            tokens = torch.tensor([prompt])
            ((best,),) = beam_search(network, state, tokens, limits=[MOST], stop=STOP, beam=1)
        assert list(best.tokens) == (each[:-1] if best.ended else each)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("positions", [60, 300])
def test_whoever_joins_leaves_or_is_put_out_changes_no_text(
    network: Seq2Seq,
    alone: dict[Sampling, list[Generated]],
    sampling: Sampling,
    positions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("limelight.decode.engine.HEADROOM", 2)  # where the cache is small, many are let in too soon
    expected = [ids(each) for each in alone[sampling]]
    engine = Engine(network, rows=4, positions=positions, chunk=16)
    requests: list[Request] = []
    widths, put_out = set(), False
    while engine.busy or len(requests) < len(PAIRS):
        if len(requests) < len(PAIRS):
            prompt, source = PAIRS[len(requests)]
            requests.append(engine.submit(prompt, source=source, max_tokens=MOST, sampling=sampling, stop=STOP))
        engine.step()
        widths.add(len(engine.running))
        put_out |= any(request.generated for request in engine.waiting)
    assert [request.generated for request in requests] == expected
    assert len(widths) > 2
    assert put_out == (positions == 60)


def test_together_is_as_alone(network: Seq2Seq, alone: dict[Sampling, list[Generated]]) -> None:
    for sampling, expected in alone.items():
        options = {"max_tokens": MOST, "sampling": sampling, "stop": STOP, "logprobs": 0}
        together = collect(generate(network, PROMPTS, sources=SOURCES, **options))
        for ours, theirs in zip(together, expected, strict=True):
            assert ids(ours) == ids(theirs)
            assert [t.logprob for t in ours.tokens] == pytest.approx([t.logprob for t in theirs.tokens], abs=1e-3)


@pytest.mark.parametrize("name", FUSED)
def test_the_compiled_program_gives_the_same_bits_alone_and_among_others(name: str) -> None:
    network = made(name)
    options = {"max_tokens": MOST, "sampling": DRAWN, "stop": STOP, "logprobs": 3}
    together = collect(generate(network, PROMPTS, sources=SOURCES, **options))
    for row, (prompt, source) in enumerate(PAIRS):
        alone = collect(generate(network, [prompt], sources=[source], **options))[0]
        key = [(token.id, token.logprob, token.best) for token in together[row].tokens]
        assert key == [(token.id, token.logprob, token.best) for token in alone.tokens]


@pytest.mark.parametrize(("row", "when"), [(0, 4), (1, 1), (2, 6), (3, 0)])
def test_any_row_may_be_cancelled(
    network: Seq2Seq, alone: dict[Sampling, list[Generated]], row: int, when: int
) -> None:
    expected = [ids(each) for each in alone[GREEDY]]
    engine = Engine(network, rows=3, chunk=8)
    requests = [engine.submit(p, source=s, max_tokens=MOST, stop=STOP) for p, s in PAIRS]
    for _ in range(when):
        engine.step()
    ended = requests[row].finish is not None
    engine.cancel(requests[row])
    for _ in engine.run():
        pass
    for number, request in enumerate(requests):
        if number != row or ended:
            assert request.generated == expected[number]
        else:
            assert request.finish == "cancelled"
            assert request.generated == expected[number][: len(request.generated)]


def test_the_same_source_drawn_twice_goes_on_differently_and_another_source_does_not_matter() -> None:
    network = made("modern")
    options = {"max_tokens": MOST, "sampling": Sampling(temperature=2.0, seed=4)}
    twice = collect(generate(network, [[START]] * 3, sources=[SOURCES[0], SOURCES[1], SOURCES[0]], **options))
    first, second, third = (ids(row) for row in twice)
    assert first != third
    assert first == ids(collect(generate(network, [[START]], sources=[SOURCES[0]], **options))[0])
    assert second == ids(collect(generate(network, [[START]], sources=[SOURCES[1]], **options))[0])
    again = {"max_tokens": MOST, "sampling": Sampling(temperature=2.0, seed=5)}
    assert third == ids(collect(generate(network, [[START]], sources=[SOURCES[0]], **again))[0])


@pytest.mark.parametrize("name", ["modern", "post-norm fused", "T5"])
def test_drafts_change_no_token(name: str) -> None:
    network = made(name)
    heads = c.LMHead(tied=False)
    decoder = build(c.ModelConfig("recurrent", network.vocab, 64, c.RecurrentStack("gru", 16, 1), heads)).eval()
    other = made("Luong", 3) if network.vocab == VOCAB else network
    for sampling in (GREEDY, Sampling(temperature=0.3, seed=2)):
        options = {"sources": SOURCES, "max_tokens": MOST, "sampling": sampling, "stop": STOP}
        plain = list(generate(network, PROMPTS, **options))
        for draft in ("lookup", decoder, other, network):
            steps = list(generate(network, PROMPTS, draft=draft, **options))
            assert [ids(row) for row in collect(steps)] == [ids(row) for row in collect(plain)]
            if draft is network and sampling.greedy:
                assert len(steps) < len(plain) / 1.5, "the likeliest tokens are its own guesses"


def test_nothing_is_kept_of_sources_that_have_been_left() -> None:
    engine = Engine(made("modern"), rows=3)
    for number in range(12):
        engine.submit([START], source=SOURCES[1] if number < 2 else [5, 6, 7], max_tokens=3 + number % 4)
    widest = longest = 0
    for _ in engine.run():
        if engine._state is not None and engine._state.source is not None:
            keys = engine._state.source.layers[0].k
            widest, longest = max(widest, keys.shape[0]), keys.shape[2]
    assert widest <= 3 + 1, "one may have ended since the last one joined"
    assert longest == 3


def test_many_sources_are_encoded_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limelight.decode.engine.ENCODED", 100)
    network, sizes = made("modern"), []
    encode = network.encode

    def watched(tokens: torch.Tensor, lengths: torch.Tensor) -> object:
        sizes.append(tokens.numel())
        return encode(tokens, lengths)

    monkeypatch.setattr(network, "encode", watched)
    found = collect(generate(network, PROMPTS * 2, sources=SOURCES * 2, max_tokens=MOST, stop=STOP))
    assert max(sizes) <= 100
    monkeypatch.undo()
    assert [ids(row) for row in found] == [ids(row) for row in lone(network, GREEDY)] * 2


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ([], r"prompt's source is empty; an encoder–decoder writes behind a source"),
        ([3] * 65, r"prompt's source has 65 tokens and the model reads at most 64: shorten it by 1"),
        ([3, VOCAB], r"prompt's source holds a token outside the model's vocabulary of 61"),
        ([-1], r"prompt's source holds a token outside the model's vocabulary of 61"),
    ],
)
def test_sources_that_do_not_fit_are_refused(source: list[int], wrong: str) -> None:
    network = made("modern")
    with pytest.raises(RequestError, match=f"the {wrong}"):
        generate(network, [[START]], sources=[source], max_tokens=2)
    with pytest.raises(RequestError, match="prompt 2's source"):
        generate(network, [[START]] * 2, sources=[[3], source], max_tokens=2)


def test_what_does_not_go_together_is_refused() -> None:
    network = made("modern")
    decoder = build(c.ModelConfig("recurrent", VOCAB, 64, c.RecurrentStack("gru", 16, 1), c.LMHead(tied=False)))
    with pytest.raises(RequestError, match="1 prompts and 2 sources; give each prompt its own"):
        generate(network, [[START]], sources=[[3], [4]], max_tokens=2)
    with pytest.raises(RequestError, match="the prompt's source is empty; an encoder–decoder writes behind a source"):
        generate(network, [[START]], max_tokens=2)
    with pytest.raises(RequestError, match="the prompt's source cannot be read: the model has no encoder"):
        generate(decoder, [[START]], sources=[[3]], max_tokens=2)
    with pytest.raises(RequestError, match="the draft's source is empty"):
        generate(transformer_decoder(), [[START]], max_tokens=2, draft=network)
    with pytest.raises(RequestError, match="recurrent model cannot take back"):
        generate(made("Luong"), [[START]], sources=[[3]], max_tokens=2, draft="lookup")
    with pytest.raises(RequestError, match="the draft has a vocabulary of 99"):
        generate(network, [[START]], sources=[[3]], max_tokens=2, draft=made("T5"))


def transformer_decoder() -> torch.nn.Module:
    block = c.Block(c.Attention(2, 2, 8, 8**-0.5), c.FeedForward(32, "relu"), c.LayerNorm(1e-5))
    stack = c.TransformerStack(16, (block,), c.LayerNorm(1e-5))
    return build(c.ModelConfig("gpt", VOCAB, 64, stack, c.LMHead(tied=False))).eval()
