"""Music as text: tunes in ABC notation, chorales, keys and metres, MIDI files. Nothing here knows a model."""
