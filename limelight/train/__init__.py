"""Training on the user's own text: data, tokenizers, token files, the loop, the run folder, several processes."""
