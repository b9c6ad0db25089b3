"""``limelight chat``: a conversation in the terminal."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight import Model
    from limelight.model import Message

_HELP = "/new starts over, /exit or Ctrl-D leaves, Ctrl-C stops an answer."


def chat(
    model: o.ModelOption = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the model is told before the conversation begins.")
    ] = None,
    max_tokens: o.MaxTokens = 1024,
    temperature: o.Temperature = 0.0,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    min_p: o.MinP = None,
    repetition: o.Repetition = 1.0,
    frequency: o.Frequency = 0.0,
    presence: o.Presence = 0.0,
    seed: o.Seed = None,
    stop: o.Stop = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Talk with a model, by its own chat template.

    /new starts over, /exit or Ctrl-D leaves, Ctrl-C stops an answer.
    Where input is no terminal, each of its lines is a message.

    Example:

      limelight chat --system "You answer in one sentence." --temperature 0.7
      echo "What is a transformer?" | limelight chat
    """
    from limelight.cli import screen
    from limelight.errors import LimelightError

    opened = o.open_model(model, device=device, dtype=dtype, quiet=False)
    from limelight import Sampling

    sampling = Sampling(temperature, top_k, top_p, min_p, repetition, frequency, presence, seed)
    beginning: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    opened.tokenizer.chat([*beginning, {"role": "user", "content": ""}])  # refuses a model that was not made for chat
    talking = sys.stdin.isatty()
    if talking:
        screen.remark(f"{opened.name}. {_HELP}")
    console = screen.stdout()
    said = list(beginning)
    for message in _typed() if talking else filter(None, map(str.strip, screen.lines())):
        if message == "/exit":
            break
        if message == "/new":
            said = list(beginning)
            continue
        turn: Message = {"role": "user", "content": message}
        answer: list[str] = []
        try:
            _fits(opened, [*said, turn])
            pieces = opened.chat([*said, turn], max_tokens=max_tokens, sampling=sampling, stop=stop or ())
            for piece in pieces:
                answer.append(piece)
                screen.put(console, piece, screen.ADDED)
        except KeyboardInterrupt:
            if not talking:
                raise
        except LimelightError as error:
            if not talking:
                raise
            screen.complain(str(error))
            continue
        screen.put(console, "\n")
        said += [turn, {"role": "assistant", "content": "".join(answer)}]


def _typed() -> Iterator[str]:
    """Messages as a person types them, until Ctrl-D. Ctrl-C throws away the line that was begun."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 (gives `input` arrow keys and a history, where the system has it)
    while True:
        try:
            message = input("> ").strip()
        except KeyboardInterrupt:
            print()
            continue
        except EOFError:
            print()
            return
        if message:
            yield message


def _fits(model: "Model", messages: "list[Message]") -> None:
    """Raises RequestError for a conversation that has grown longer than the model can see."""
    from limelight.errors import RequestError

    length = len(model.tokenizer.encode(model.tokenizer.chat(messages), special=True).ids)
    if length > model.network.context:
        raise RequestError(
            f"the conversation has {length:,} tokens and the model sees at most {model.network.context:,}; "
            "say it shorter, or start over with /new"
        )
