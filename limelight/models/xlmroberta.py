"""XLM-RoBERTa (Conneau et al., 2020): RoBERTa in a hundred languages."""

from limelight.models import roberta

FAMILY = roberta.family("xlm-roberta", "XLMRoberta", 30522)
