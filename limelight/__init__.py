"""limelight: open a transformer, run it, train it, and see which words it is listening to."""

__version__ = "0.1.0"
