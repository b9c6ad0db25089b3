"""mBART (Liu et al., 2020): BART for many languages, with norms in front of each part and at the end."""

from limelight.models import config as c
from limelight.models.seq2seq import Kind

FAMILY = Kind("mbart", "MBartForConditionalGeneration", "pre", True, lambda context, pad: c.Learned(context, 2)).family
