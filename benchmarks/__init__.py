"""limelight beside its peers: the same weights, the same machine, the same run."""
