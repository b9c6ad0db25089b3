"""Whether the stacks and the head of a config fit each other."""

from limelight.errors import ConfigError
from limelight.models import config as c


def check(config: c.ModelConfig) -> None:
    """Raises ConfigError, which says what does not fit."""
    encoder, decoder = config.encoder, config.decoder
    if isinstance(decoder, c.RecurrentStack):
        if decoder.direction != "forward":
            raise ConfigError(f"a recurrent decoder reads forward; its direction cannot be {decoder.direction!r}")
        if decoder.attention is not None and encoder is None:
            raise ConfigError("a recurrent decoder with attention needs an encoder to attend to")
    elif decoder is not None:
        crosses = [block.cross is not None for block in decoder.blocks]
        if not all(crosses) if encoder is not None else any(crosses):
            raise ConfigError(
                "behind an encoder every block of a decoder has attention to it ('cross'), otherwise none"
            )
    if isinstance(config.head, c.LMHead) == (decoder is None):
        what = "an encoder alone scores no next word" if decoder is None else "a decoder must score the next word"
        raise ConfigError(f"{what}: its head cannot be of the type {type(config.head).__name__!r}")
    for stack, behind in ((encoder, False), (decoder, encoder is not None)):
        units = isinstance(stack, c.TransformerStack) and any(isinstance(b.attention, c.SSRU) for b in stack.blocks)
        if units and not behind:
            raise ConfigError("a recurrent unit (SSRU) can stand in the blocks of a decoder behind an encoder alone")
    if isinstance(encoder, c.TransformerStack) and encoder.recurrent:
        raise ConfigError("an encoder reads in both directions, so it cannot have recurrent units that carry a state")
    if encoder is None:
        if decoder is None:
            raise ConfigError("a model needs a decoder, an encoder or both")
        return
    if decoder is None and not isinstance(encoder, c.TransformerStack):
        raise ConfigError("an encoder without a decoder must be a transformer's")
    if decoder is not None and encoder.width != decoder.width:
        raise ConfigError(f"the encoder is {encoder.width} wide and the decoder {decoder.width}; they must be equal")
    if isinstance(encoder, c.TransformerStack):
        if any(block.cross is not None for block in encoder.blocks):
            raise ConfigError("the blocks of an encoder have no 'cross'")
        return
    if encoder.attention is not None:
        raise ConfigError("a recurrent encoder has no attention; it belongs to the decoder")
    if encoder.direction == "both" and encoder.width % 2:
        raise ConfigError(f"an encoder in both directions needs an even width, and {encoder.width} is not")
    if isinstance(decoder, c.RecurrentStack) and (encoder.cell, encoder.layers) != (decoder.cell, decoder.layers):
        raise ConfigError(
            "a recurrent decoder begins where its encoder ended, layer by layer: give both the same cell and layers"
        )
