"""What models are used for: thin layers over the same models and the same decoding."""

from limelight.tasks.evaluation.alignment import Gold, align, error_rate, read_gold
from limelight.tasks.evaluation.translation import Bucket, Score, bleu, bleu_by_length, chrf
from limelight.tasks.translate import Language, Translation, translate

__all__ = [
    "Bucket",
    "Gold",
    "Language",
    "Score",
    "Translation",
    "align",
    "bleu",
    "bleu_by_length",
    "chrf",
    "error_rate",
    "read_gold",
    "translate",
]
