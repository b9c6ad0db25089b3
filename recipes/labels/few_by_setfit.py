"""SetFit's own code on the draws of eight texts a label that prepare.py writes, to compare with `train classify`.

    pip install setfit
    python recipes/labels/few_by_setfit.py MODEL runs/labels/data cr 0 1 2

MODEL is a folder of sentence-transformers. Its settings are those of SetFit's paper (Tunstall et al., 2022): 20 pairs a
text and side, one pass, 16 pairs a step at 2e-5, then logistic regression over the vectors. Prints the accuracy on the
development part, draw by draw.
"""

import csv
import sys
from pathlib import Path

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def table(path: Path) -> Dataset:
    """Texts and labels as SetFit names them."""
    with path.open(encoding="utf-8", newline="") as file:
        return Dataset.from_list(list(csv.DictReader(file)))


def main(model: str, folder: Path, name: str, draws: list[str]) -> None:
    """Trains and judges one model a draw."""
    test = table(folder / f"{name}.dev.csv")
    for draw in draws:
        body = SetFitModel.from_pretrained(model)
        settings = TrainingArguments(
            num_epochs=1, num_iterations=20, batch_size=16, report_to="none", save_strategy="no", seed=int(draw)
        )
        trainer = Trainer(body, settings, train_dataset=table(folder / f"{name}.few{draw}.csv"))
        trainer.train()
        right = sum(str(found) == label for found, label in zip(body.predict(test["text"]), test["label"], strict=True))
        print(f"{name}.few{draw}: accuracy {100 * right / len(test):.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
