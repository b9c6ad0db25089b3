"""The page: a local web server around one open model."""
