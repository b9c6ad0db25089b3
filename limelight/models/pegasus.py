"""Pegasus (Zhang et al., 2020), for summaries: BART with pre-norm blocks and sinusoidal positions, which files hold."""

from limelight.models import config as c
from limelight.models.seq2seq import Kind

FAMILY = Kind(
    "pegasus",
    "PegasusForConditionalGeneration",
    "pre",
    False,
    lambda context, pad: c.Sinusoidal("halves"),
    stored=True,
).family
