"""DeBERTa v2 and v3 (He et al., 2021, 2023): distances in buckets, whose projections may be those of what is said."""

from limelight.models import deberta

FAMILY = deberta.family("deberta-v2", "DebertaV2", 128100)
