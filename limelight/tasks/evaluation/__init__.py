"""How good models are, on data whose answers are known: a file a kind of model."""
