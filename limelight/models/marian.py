"""Marian (Junczys-Dowmunt et al., 2018) as transformers keeps it, such as the OPUS-MT models: BART with sinusoids."""

from limelight.models import config as c
from limelight.models.seq2seq import Kind

FAMILY = Kind("marian", "MarianMTModel", "post", False, lambda context, pad: c.Sinusoidal("halves")).family
