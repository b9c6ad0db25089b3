"""CamemBERT (Martin et al., 2020): RoBERTa in French."""

from limelight.models import roberta

FAMILY = roberta.family("camembert", "Camembert", 30522)
