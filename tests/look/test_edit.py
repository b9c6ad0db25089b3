"""What if: an edited twin against the same change made to the weights by hand."""

import copy

import pytest
import torch
from references import saved

import limelight
from limelight.errors import RequestError
from limelight.look import compare
from limelight.look.edit import Change, edit
from limelight.models.api import Decoder

TEXT = " ".join(f"w{i}" for i in range(10, 20))
TOKENS = torch.tensor([list(range(10, 26))])


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2", "gpt_neox"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder)


@torch.inference_mode()
def run(network: Decoder) -> torch.Tensor:
    return network(TOKENS)


def test_a_head_off_equals_its_columns_of_the_output_matrix_being_zero(model: limelight.Model) -> None:
    before = run(model.network)
    other = copy.deepcopy(model.network)
    width = other.decoder.blocks[1].attention.head_width
    with torch.no_grad():
        other.decoder.blocks[1].attention.out.weight[:, 2 * width : 3 * width] = 0
        other.decoder.blocks[2].attention.out.weight[:, :width] = 0
        other.decoder.blocks[2].attention.out.weight[:, 3 * width :] = 0
    edited = run(edit(model.network, heads_off=[(1, 2), (2, 0), (2, 3)]))
    torch.testing.assert_close(edited, run(other), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(edited, before)
    assert torch.equal(run(model.network), before)  # the model itself goes on as it was


def test_a_layer_off_equals_the_model_without_it(model: limelight.Model) -> None:
    before = run(model.network)
    other = copy.deepcopy(model.network)
    del other.decoder.blocks[1]
    torch.testing.assert_close(run(edit(model.network, layers_off=[1])), run(other), rtol=1e-5, atol=1e-5)
    assert torch.equal(run(model.network), before)


def test_edits_of_edits_add_up(model: limelight.Model) -> None:
    once = edit(model.network, heads_off=[(0, 1)], layers_off=[2])
    twice = edit(edit(model.network, heads_off=[(0, 1)]), layers_off=[2])
    assert torch.equal(run(once), run(twice))


def test_without_positions_the_last_word_sees_a_heap(model: limelight.Model) -> None:
    one = edit(model.network, positions=False, layers_off=[1, 2])  # deeper layers can tell by what the mask let in
    shuffled = TOKENS[:, [0, 3, 1, 4, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]]
    with torch.inference_mode():
        in_order, mixed = one(TOKENS)[0, 5], one(shuffled)[0, 5]
        was = edit(model.network, layers_off=[1, 2])
        told = was(TOKENS)[0, 5], was(shuffled)[0, 5]
    torch.testing.assert_close(mixed, in_order, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(*told, rtol=1e-3, atol=1e-3)


def test_what_if_is_another_look_at_the_same_text(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    after = seen.what_if(heads_off=[(1, 2)], layers_off=[0])
    assert after.text == seen.text
    assert after.words == seen.words
    assert after.next_words() != seen.next_words()
    assert seen.what_if().next_words() == seen.next_words()
    assert seen.what_if(heads_off=[(2, 1)]).importance() != seen.importance()
    torch.testing.assert_close(
        after.attention(1, 2, tokens=True).sum(-1), torch.ones(11)
    )  # it still looks, though nobody listens


def test_what_does_not_exist_cannot_be_switched_off(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    with pytest.raises(RequestError, match="heads 0 to 3"):
        seen.what_if(heads_off=[(1, 4)])
    with pytest.raises(RequestError, match="layers 0 to 2"):
        seen.what_if(heads_off=[(3, 0)])
    with pytest.raises(RequestError, match="layers 0 to 2"):
        seen.what_if(layers_off=[-1])


def test_two_sides_are_compared(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    after = seen.what_if(heads_off=[(1, 2), (1, 3)])
    found = compare(seen, after, "w19", n=3)
    sides = dict(seen.next_words(99)), dict(after.next_words(99))
    assert {change.name for change in found.next_words} == {*list(sides[0])[:3], *list(sides[1])[:3]}
    for change in found.next_words:
        assert (change.before, change.after) == (sides[0][change.name], sides[1][change.name])
    assert [change.name for change in found.importance] == TEXT.split()[:-1]
    assert [change.before for change in found.importance] == [h.importance for h in seen.importance("w19").words]
    assert [change.after for change in found.importance] == [h.importance for h in after.importance("w19").words]


def test_words_of_two_texts_stand_side_by_side(model: limelight.Model) -> None:
    before = model.look("w10 w11 w12 w13 w14")
    swapped = compare(before, model.look("w10 w13 w12 w11 w14"), "w14")
    assert [change.name for change in swapped.importance] == ["w10", "w11 → w13", "w12", "w13 → w11"]
    longer = compare(before, model.look("w10 w11 w20 w12 w13 w14"), "w14")
    assert [change.name for change in longer.importance] == ["w10", "w11", "w20", "w12", "w13"]
    *others, asking = longer.importance  # the last word counts only where it outweighs all others
    assert [change.before is None for change in others] == [False, False, True, False]
    assert all(change.after is not None for change in others)
    assert asking.name == "w13"


def test_by_default_ten_next_words_and_the_word_that_comes_next_are_compared(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    found = compare(seen, seen)
    assert found.next_words == tuple(Change(token, chance, chance) for token, chance in seen.next_words(10))
    heard = seen.importance(check=False).words
    assert found.importance == tuple(Change(each.word, each.importance, each.importance) for each in heard)
    assert [change.name for change in found.importance] == TEXT.split()
