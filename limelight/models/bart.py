"""BART (Lewis et al., 2020): an encoder–decoder with learned positions, and norms behind each part."""

from limelight.models import config as c
from limelight.models.seq2seq import Kind

FAMILY = Kind("bart", "BartForConditionalGeneration", "post", True, lambda context, pad: c.Learned(context, 2)).family
