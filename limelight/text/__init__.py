"""Text: tokens and back, chat templates, streaming, and which tokens make a word."""
