"""M2M-100 (Fan et al., 2021) and NLLB-200 (NLLB team, 2022): BART for a hundred languages and more.

Its blocks are pre-norm, and its positions are fairseq's, which begin behind the number of the padding token.
"""

from limelight.models import config as c
from limelight.models.seq2seq import Kind

FAMILY = Kind(
    "m2m_100",
    "M2M100ForConditionalGeneration",
    "pre",
    False,
    lambda context, pad: c.Sinusoidal("fairseq", pad + 1),
    bias=False,
).family
