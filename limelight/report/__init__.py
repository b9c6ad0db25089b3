"""What became of a model that was trained on: a report card, as one HTML file."""
