"""Building blocks of models."""

import os

import torch

if hasattr(os, "register_at_fork"):
    # A child that is forked gets none of the threads that OpenMP has made, and would wait for them forever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
