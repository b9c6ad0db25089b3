"""What models are used for: thin layers over the same models and the same decoding."""

from limelight.tasks.score import Bucket, Score, bleu, bleu_by_length, chrf
from limelight.tasks.translate import Language, Translation, translate

__all__ = ["Bucket", "Language", "Score", "Translation", "bleu", "bleu_by_length", "chrf", "translate"]
