"""The race: models that read word by word against models that read all at once, on equal terms."""
