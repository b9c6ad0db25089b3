"""Numbers by layer and column: what a table, its title and its strongest numbers are, worked out by hand."""

import math

import torch

from limelight.look.ablate import Ablation
from limelight.look.attribution import Attribution
from limelight.look.patch import Patching


def ablation(log_odds: list[list[float]], columns: tuple[str, ...], whole: float = 1.0) -> Ablation:
    return Ablation("attention", "mean", "cat", "dog", columns, torch.tensor(log_odds), whole)


def test_a_table_has_a_title_the_columns_and_a_row_for_each_layer() -> None:
    found = ablation([[1.0, 2.0, -3.5], [0.5, 1.0, 1.0]], ("1 a", "2 longer word", "3 b"))
    assert str(found).splitlines() == [
        "Ablating attention to mean: change of “cat” rather than “dog”, +1.00 with all",
        "layer           1 a 2 longer word           3 b",
        "    0          0.00          1.00         −4.50",
        "    1         −0.50          0.00          0.00",
    ]
    assert found.strongest(3) == [(0, "3 b", -4.5), (0, "2 longer word", 1.0), (1, "1 a", -0.5)]
    narrow = ablation([[2.5]], ("1 a",), -0.5)
    assert str(narrow).splitlines() == [
        "Ablating attention to mean: change of “cat” rather than “dog”, −0.50 with all",
        "layer    1 a",
        "    0   3.00",
    ]


def test_of_many_columns_the_strongest_are_shown_in_their_order() -> None:
    columns = tuple(f"{i} w" for i in range(17))
    found = ablation([[1.0 + (i if i != 3 else 0.5) for i in range(17)], [1.0] * 17], columns)  # 0 and 3 are weakest
    title, names, *rows = str(found).splitlines()
    assert title.endswith(" with all (the strongest 16 of 17 columns)")
    assert names.split() == ["layer", *" ".join(columns[1:]).split()]
    assert rows[0].split() == ["0", "1.00", "2.00", "0.50", *(f"{i}.00" for i in range(4, 17))]
    assert found.strongest() == [(0, f"{i} w", float(i)) for i in range(16, 6, -1)]
    assert "strongest" not in str(ablation([[1.0] * 16], columns[:16]))


def test_what_is_no_number_is_the_weakest_and_equal_ones_keep_their_order() -> None:
    found = ablation([[math.nan, 2.0, 0.0, 2.0]], ("a", "b", "c", "d"))
    assert [column for _, column, _ in found.strongest()] == ["b", "c", "d", "a"]


def test_an_attribution_shows_what_the_heads_their_bias_and_the_feed_forward_added() -> None:
    heads, attention, fed = torch.tensor([[1.0, 2.0], [0.5, -1.0]]), torch.tensor([4.0, 0.0]), torch.tensor([-1.0, 3.0])
    found = Attribution("cat", "dog", 5.5, -0.25, heads, attention, fed, 0.75)
    assert found.columns == ("head 0", "head 1", "bias", "feedforward")
    assert found.values.tolist() == [[1, 2, 1, -1], [0.5, -1, 0.5, 3]]
    assert found.title == (
        "Logit attribution: “cat” rather than “dog” +5.50, of which the embeddings −0.25 and no layer +0.75"
    )


def test_a_patching_counts_from_the_corrupted_text_to_the_clean_one() -> None:
    found = Patching("heads", "cat", "dog", ("head 0", "head 1"), torch.tensor([[-1.0, 2.0]]), 5.0, -1.0)
    assert found.values.tolist() == [[0, 0.5]]
    assert found.title == (
        "Patching heads: “cat” rather than “dog”, 0 as in the corrupted text (−1.00), 1 as in the clean one (+5.00)"
    )
