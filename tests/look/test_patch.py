"""Activation patching: each number against one whole run of the network with a hook that does the same."""

import builtins
from dataclasses import replace
from typing import Any

import pytest
import torch
from references import saved
from torch import Tensor, nn

import limelight
from limelight.errors import RequestError
from limelight.look import PARTS, Seen
from limelight.look.logit_difference import asked
from limelight.look.replaced import Spots, replaced

CLEAN = "w10 w11 w12 w13 w14 w15 w16 w17"
CORRUPTED = "w10 w11 w12 w23 w14 w25 w16 w47"
NAMES = {"residual": "", "attention": ".attention", "feedforward": ".feedforward", "heads": ".attention.out"}
LONG = " ".join(f"w{10 + i % 80}" for i in range(40))  # longer than what rotary frequencies follow


@pytest.fixture(
    scope="module", params=["llama", "gemma2", "gpt2", "gpt_neox", "mistral", "phi3-longrope", "llama-dynamic"]
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model)


@pytest.fixture
def pair(model: limelight.Model) -> tuple[Seen, Seen]:
    if "rope" in model.title or "dynamic" in model.title:
        return model.look(LONG), model.look(LONG).replace(35, "w9").replace(38, "w8").replace(40, "w7")
    return model.look(CLEAN), model.look(CORRUPTED)


def caught(model: limelight.Model, seen: Seen, name: str, ahead: bool) -> Tensor:
    """What a module reads, or puts out, for a text: [T, ·]."""
    found: list[Tensor] = []
    hooks: dict[str, Any] = {name: lambda module, inputs, output: found.append(inputs[0] if ahead else output)}
    with torch.inference_mode():
        model.hooked(hooks).network(torch.tensor([seen.ids]))
    return found[0][0]


@torch.inference_mode()
def by_hand(model: limelight.Model, pair: tuple[Seen, Seen], part: str, layer: int, column: int) -> float:
    """The log-odds of w20 against w30 behind the corrupted text, one part put in by a hook on one module."""
    clean, corrupted = pair
    ahead = part in ("residual", "heads")
    name = f"decoder.blocks.{layer}{NAMES[part]}"
    if layer == 3:
        name = "decoder.norm"
    theirs = caught(model, clean, name, ahead)

    def put(made: Tensor) -> Tensor:
        made = made.clone()
        if part == "heads":
            width = made.shape[-1] // 4
            made[0, :, column * width : (column + 1) * width] = theirs[:, column * width : (column + 1) * width]
        else:
            made[0, column + 1] = theirs[column + 1]  # behind the sink token
        return made

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return put(output)

    def pre_hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (put(inputs[0]), *inputs[1:])

    changed = model.hooked(pre_hooks={name: pre_hook}) if ahead else model.hooked({name: hook})
    logits = changed.network(torch.tensor([corrupted.ids]))[0, -1]
    return float(logits[20] - logits[30])


@pytest.mark.parametrize("part", list(PARTS))
def test_each_number_is_that_of_a_whole_run_with_a_hook(
    model: limelight.Model, pair: tuple[Seen, Seen], part: str
) -> None:
    found = pair[0].patch_into(pair[1], "w20", foil="w30", part=part)
    columns = 4 if part == "heads" else len(pair[0].words)
    assert found.log_odds.shape == (4 if part == "residual" else 3, columns)
    assert len(found.columns) == columns
    tried = [0, *range(34, 40)] if columns == 40 else list(range(columns))
    for layer in range(len(found.log_odds)):
        expected = torch.tensor([by_hand(model, pair, part, layer, column) for column in tried])
        torch.testing.assert_close(found.log_odds[layer, tried], expected, rtol=1e-5, atol=2e-5)
    assert float(found.log_odds[:, tried].std()) > 3e-4  # far above the tolerance


def test_the_ends_are_the_two_texts(pair: tuple[Seen, Seen]) -> None:
    clean, corrupted = pair
    found = clean.patch_into(corrupted, "w20", foil="w30")
    for seen, value in ((clean, found.clean), (corrupted, found.corrupted)):
        assert value == pytest.approx(float(seen.logits()[-1, 20] - seen.logits()[-1, 30]), abs=1e-4)
    assert float(found.values[3, -1]) == pytest.approx(1, abs=1e-3)  # behind all layers where is asked
    assert bool((found.values[3, :-1] == 0).all())  # and nobody hears the other places any more
    first = next(i for i, (a, b) in enumerate(zip(clean.words, corrupted.words, strict=True)) if a.text != b.text)
    assert bool((found.values[:, :first] == 0).all())  # what is the same in both texts changes nothing
    question = asked(clean._tokenizer, clean, "w20", "w30")
    everywhere = Spots("residual", (range(len(clean.ids)),))
    whole = replaced(corrupted.session.network, corrupted.ids, everywhere, clean.hidden(), question)
    torch.testing.assert_close(whole, torch.full((4, 1), found.clean), rtol=1e-4, atol=1e-4)
    nothing = replaced(corrupted.session.network, corrupted.ids, everywhere, corrupted.hidden(), question)
    torch.testing.assert_close(nothing, torch.full((4, 1), found.corrupted), rtol=1e-4, atol=1e-4)


def test_what_is_asked_is_by_default_what_the_two_texts_say(pair: tuple[Seen, Seen]) -> None:
    clean, corrupted = pair
    says = [int(seen.logits()[-1].argmax()) for seen in pair]
    if says[0] == says[1]:
        with pytest.raises(RequestError, match="both texts go on with"):
            clean.patch_into(corrupted)
    else:
        found = clean.patch_into(corrupted)
        assert [found.answer, found.foil] == [clean.reading.spell(id).strip() for id in says]


def test_tokens_and_progress(pair: tuple[Seen, Seen]) -> None:
    clean, corrupted = pair
    done: list[tuple[int, int]] = []
    found = clean.patch_into(corrupted, "w20", foil="w30", tokens=True, progress=lambda *each: done.append(each))
    words = clean.patch_into(corrupted, "w20", foil="w30")
    assert torch.equal(found.log_odds[:, 1:], words.log_odds)  # each word is one token, behind the sink token
    assert found.columns[0].startswith("0 ")
    assert done[-1][0] == done[-1][1] == found.log_odds.numel()
    assert done == sorted(done)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp("llama")
    saved("llama", folder)
    return limelight.open(folder, kind=limelight.Model)


def test_a_patching_is_a_table_and_a_picture(llama: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    found = llama.look(CLEAN).patch_into(llama.look(CORRUPTED), "w20", foil="w30")
    head, names, *rows = str(found).splitlines()
    assert head.startswith("Patching residual: “w20” rather than “w30”, 0 as in the corrupted text (")
    assert "4 w23 → w13" in names
    assert len(rows) == 4
    assert [float(value.replace("−", "-")) for value in rows[2].split()[1:]] == pytest.approx(
        found.values[2].tolist(), abs=0.006
    )
    layer, column, number = found.strongest(1)[0]
    assert abs(number) == float(found.values.abs().max())
    assert float(found.values[layer, found.columns.index(column)]) == number
    wide = " ".join(f"w{i}" for i in range(10, 40))
    wider = str(llama.look(wide).patch_into(llama.look(wide).replace(1, "w40"), "w20", foil="w30"))
    assert "the strongest 16 of 30 columns" in wider
    assert all(len(row.split()) == 17 for row in wider.splitlines()[2:])
    frame = pytest.importorskip("pandas") and found.to_pandas()
    assert list(frame.columns) == list(found.columns)
    assert frame.index.name == "layer"
    assert frame.loc[2, "4 w23 → w13"] == float(found.values[2, 3])
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    axes = found.plot()
    assert [label.get_text() for label in axes.get_xticklabels()] == list(found.columns)
    assert torch.equal(torch.tensor(axes.images[0].get_array()), found.values)
    large = replace(found, columns=found.columns * 9, log_odds=found.log_odds.repeat(9, 9))  # has a larger picture
    sizes = [each.plot().figure.get_size_inches().tolist() for each in (found, large)]
    expected = [(max(5, 1.8 + 0.34 * m), max(3, 1.6 + 0.2 * n)) for n, m in (found.values.shape, large.values.shape)]
    assert sizes == [pytest.approx(size) for size in expected]
    assert found.plot(axes) is axes
    pyplot.close("all")
    with pytest.raises(RequestError, match="axes is 3; it must be the axes of a matplotlib figure"):
        found.plot(3)  # type: ignore[arg-type]
    real = builtins.__import__

    def none(name: str, *args: Any) -> Any:
        if name.partition(".")[0] in ("pandas", "matplotlib"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(RequestError, match="pip install pandas"):
        found.to_pandas()
    with pytest.raises(RequestError, match="pip install matplotlib"):
        found.plot()


def test_texts_that_do_not_fit_are_refused_by_the_word(
    llama: limelight.Model, tiny: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clean = llama.look(CLEAN)
    with pytest.raises(
        RequestError, match="the clean text has 8 words and 9 tokens, the corrupted one 9 and 10; to be"
    ):
        clean.patch_into(llama.look(CORRUPTED + " w1"))
    with pytest.raises(RequestError, match="corrupted is 'w1'; it must be another look"):
        clean.patch_into("w1")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="part is 'mlp'; it must be one of residual, attention, feedforward, heads"):
        clean.patch_into(llama.look(CORRUPTED), part="mlp")
    with pytest.raises(RequestError, match="'w20' and ' w20' begin with the same token"):
        clean.patch_into(llama.look(CORRUPTED), "w20", foil=" w20")
    with pytest.raises(RequestError, match="the same odds"):
        clean.patch_into(llama.look(CLEAN), "w20", foil="w30")
    with pytest.raises(RequestError, match="answer is an empty text"):
        clean.patch_into(llama.look(CORRUPTED), " ")
    other = limelight.open(tiny, kind=limelight.Model)
    with pytest.raises(RequestError, match="models of different shapes"):
        clean.patch_into(other.look("The cat"))
    cat = other.look("The cat sat on the mat because it was tired")
    with pytest.raises(
        RequestError, match=r"word 2 is “cat”, 1 token, in the clean text and “zebra”, \d tokens, in the corrupted one"
    ):
        cat.patch_into(cat.replace("cat", "zebra"))
    with pytest.raises(RequestError, match="word 2 is “cat”, 1 token"):
        cat.patch_into(cat.replace("cat", "zebra"), tokens=True)
    parted, whole = cat.replace("cat", "bat"), cat.replace("cat", "cat cat cat")  # one word of three tokens, or three
    found = parted.patch_into(whole, "mat", foil="tired", tokens=True)
    assert found.log_odds.shape == (4, len(parted.ids))
    assert found.columns[1:5] == ("1 The", "2 cat → ' '", "3 cat → b", "4 cat → at")
    with pytest.raises(RequestError, match="word 2 is “bat”, 3 tokens, in the clean text and “cat”, 1 token, in the"):
        parted.patch_into(whole, "mat", foil="tired")
    ends = other.look("The cat sat on the ")
    with pytest.raises(RequestError, match="answer 'mat' becomes one token with the end of the text"):
        ends.patch_into(ends.replace("sat", "was"), "mat")


def test_one_model_is_patched_into_another_of_its_shape(llama: limelight.Model) -> None:
    silent = llama.hooked({"decoder.blocks.1.attention": lambda module, inputs, output: output * 0})
    found = llama.look(CLEAN).patch_into(silent.look(CLEAN), "w20", foil="w30", part="attention")
    assert float(found.values[1, -1]) > 0.01  # what was silenced, at the place where is asked
    assert bool((found.values[0] == 0).all())
