"""``limelight chat``: a conversation in the terminal."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight import Model
    from limelight.model import Message

COMMANDS = {
    "/help": "lists the commands",
    "/reset": "starts over",
    "/save FILE": "writes the conversation to a file, as JSON",
    "/quit": "leaves, as Ctrl-D does",
}
"""What may be typed in place of a message."""

_NAMES = {"/new": "/reset", "/exit": "/quit"} | {usage.split()[0]: usage.split()[0] for usage in COMMANDS}
_COMMAND = re.compile(r"(/[a-z]+)(?:\s+(.+))?")


def chat(
    ctx: typer.Context,
    model: o.ModelOption = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to tell the model before the conversation begins.")
    ] = None,
    max_tokens: o.MaxTokens = 1024,
    temperature: o.Temperature = o.TEMPERATURE,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    min_p: o.MinP = None,
    repetition: o.Repetition = None,
    frequency: o.Frequency = 0.0,
    presence: o.Presence = 0.0,
    seed: o.Seed = None,
    stop: o.Stop = None,
    server: o.ServerOption = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Talk with a model, using its own chat template.

    /help lists the commands. Ctrl-C stops an answer, Ctrl-D leaves.
    When input does not come from a terminal, each line is a message.

    Example:

      limelight chat --system "You answer in one sentence." --seed 1
      echo "What is a transformer?" | limelight chat
    """
    from limelight.cli import remote, screen
    from limelight.errors import LimelightError

    sampling = o.sampling(ctx, temperature, top_k, top_p, min_p, repetition, frequency, presence, seed)
    beginning: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    if server is not None:
        o.refuse_local(ctx)
        title, answers = _by_server(server, remote.drawn(sampling, max_tokens, stop, model))
    else:
        opened = o.open_model(model, device=device, dtype=dtype, quiet=False)
        opened.tokenizer.chat([*beginning, {"role": "user", "content": ""}])  # refuses one that was not made for chat
        title = opened.title

        def answers(messages: "list[Message]") -> Iterator[str]:
            _fits(opened, messages)
            return opened.chat(messages, max_tokens=max_tokens, sampling=sampling, stop=stop or ())

    talking = sys.stdin.isatty()
    if talking:
        screen.remark(f"talking with {title}; /help lists the commands, Ctrl-C stops an answer")
        o.tell_seed(sampling, seed)
    console = screen.stdout()
    said = list(beginning)
    for message in _typed() if talking else filter(None, map(str.strip, screen.lines())):
        turn: Message = {"role": "user", "content": message}
        answer: list[str] = []
        try:
            command = _COMMAND.fullmatch(message)
            if command is not None:
                match _named(command[1]):
                    case "/quit":
                        break
                    case "/reset":
                        said = list(beginning)
                    case "/save":
                        _save(command[2], said)
                    case _:
                        for usage, does in COMMANDS.items():
                            screen.put(console, f"  {usage:<12}{does}\n")
                continue
            pieces = answers([*said, turn])
            shown = screen.Wrapped(console, screen.ADDED)
            try:
                for piece in pieces:
                    answer.append(piece)
                    shown.put(piece)
            finally:
                shown.close()
        except KeyboardInterrupt:
            if not talking:
                raise
        except LimelightError as error:
            if not talking:
                raise
            screen.complain(str(error))
            continue
        said += [turn, {"role": "assistant", "content": "".join(answer)}]
    if not talking:
        o.tell_seed(sampling, seed)


def _by_server(url: str, body: "Mapping[str, Any]") -> "tuple[str, Callable[[list[Message]], Iterator[str]]]":
    """The name of a server's model, and what answers a conversation."""
    from limelight.cli import remote

    server = remote.Server(url)
    name = body.get("model") or server.ask("/v1/models")["data"][0]["id"]
    return name, lambda messages: remote.chat(server, messages, body)


def _named(command: str) -> str:
    """The command that was typed. Raises RequestError for one that there is not."""
    from limelight.errors import RequestError, suggestion

    if command not in _NAMES:
        raise RequestError(f"there is no command {command}; /help lists all{suggestion(command, _NAMES)}")
    return _NAMES[command]


def _save(file: str | None, said: "Sequence[Message]") -> None:
    """Writes the messages as `Model.chat` takes them. Raises RequestError for a file that is there already."""
    from limelight.cli import screen
    from limelight.errors import RequestError

    if file is None:
        raise RequestError("name a file to save the conversation in: /save FILE")
    if "\0" in file:
        raise RequestError("a file's name holds no NUL character; name another file")
    path = Path(file).expanduser()
    if path.exists():
        raise RequestError(f"{path} is there already; name another file")
    with screen.beside(path) as stream:
        stream.write(json.dumps(said, ensure_ascii=False, indent=2).encode())
    screen.remark(f"saved in {path}")


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
            "say less, or start over with /reset"
        )
