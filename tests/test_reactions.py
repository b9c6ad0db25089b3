"""Real encoders of chemical reactions, old torch files, where they have been fetched (``limelight pull rxnfp``)."""

import re
from pathlib import Path

import pytest
import torch

import limelight
from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import catalog

REACTIONS = [
    "CC(=O)O.OCC>>CC(=O)OCC",
    "c1ccccc1Br.OB(O)c1ccccc1>>c1ccc(-c2ccccc2)cc1",
    "C[C@H](N)C(=O)O.[Na+].[OH-]>>C[C@H](N)C(=O)[O-]",
]
PIECES = re.compile(
    r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>>?|\*|\$|%[0-9]{2}|[0-9]"
)


def folder(name: str) -> Path:
    path = wheel.path_of(catalog()[name])
    if not path.is_file():
        pytest.skip(f"the model is not on this machine: limelight pull {name}")
    return path.parent


def ids(folder: Path, text: str) -> list[int]:
    """As the authors' own tokenizer cuts it."""
    vocabulary = (folder / "vocab.txt").read_text().split("\n")
    known = {token: id for id, token in enumerate(vocabulary)}
    return [known.get(token, known["[UNK]"]) for token in ("[CLS]", *PIECES.findall(text), "[SEP]")]


@pytest.mark.parametrize("text", REACTIONS)
def test_a_reaction_is_cut_into_atoms_and_bonds(text: str) -> None:
    place = folder("rxnfp")
    tokenizer = limelight.open("rxnfp").tokenizer
    found = tokenizer.encode(text)
    assert [*tokenizer.prefix, *found.ids, *tokenizer.suffix] == ids(place, text)
    assert tokenizer.decode(found.ids) == text


@pytest.mark.parametrize("name", ["rxnfp", "rxnfp-masked", "rxnfp-classes", "rxnmapper"])
def test_answers_are_those_of_the_reference(name: str) -> None:
    import transformers

    place = folder(name)
    config = transformers.AutoConfig.from_pretrained(place)
    kind = getattr(transformers, config.architectures[0])
    reference = kind.from_pretrained(place, config=config).eval()
    model = limelight.open(name)
    for text in REACTIONS:
        tokens = torch.tensor([ids(place, text)])
        with torch.inference_mode():
            expected = reference(tokens)
            found = model.network(tokens)
        wanted = expected.last_hidden_state[:, 0] if name == "rxnfp" else expected.logits
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
