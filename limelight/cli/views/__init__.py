"""How commands draw what was found: the terminal’s counterpart of `limelight.views`."""
