"""``limelight complete``: continue a text."""

from typing import TYPE_CHECKING, Any, Literal

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight import Model
    from limelight.cli.remote import Server


QUESTION_MARKS = ("?", "？", "؟")
"""By which a text asks something, in the scripts of most languages."""


def complete(
    ctx: typer.Context,
    text: o.TextArgument,
    model: o.ModelOption = None,
    max_tokens: o.MaxTokens = 256,
    logprobs: o.Logprobs = False,
    json: o.Json = False,
    temperature: o.Temperature = o.TEMPERATURE,
    top_k: o.TopK = None,
    top_p: o.TopP = None,
    min_p: o.MinP = None,
    repetition: o.Repetition = None,
    frequency: o.Frequency = 0.0,
    presence: o.Presence = 0.0,
    seed: o.Seed = None,
    stop: o.Stop = None,
    draft: o.Draft = None,
    server: o.ServerOption = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Continue a text.

    The next word is drawn at random from the likely ones; --temperature 0 takes
    the likeliest. A file or a pipe gets the continuation alone. Ctrl-C stops it.

    Example:

      limelight complete "The recipe for a good pancake is" --seed 1
      limelight complete "The capital of France is" --temperature 0
      echo "Once upon a time" | limelight complete - --max-tokens 100 > story.txt
      limelight complete - --draft lookup < program.py
    """
    import time

    from limelight.cli import remote, screen

    if not json:
        o.refuse(ctx, ("logprobs",), "is printed with --json alone; add that")
    sampling = o.sampling(ctx, temperature, top_k, top_p, min_p, repetition, frequency, presence, seed)
    prompt = screen.read(text)
    if server is not None:
        o.refuse_local(ctx)
        body = remote.drawn(sampling, max_tokens, stop, model)
        _asked(remote.Server(server), prompt, body, logprobs, json)
        if not json:
            o.tell_seed(sampling, seed)
        return
    opened = o.open_model(model, device=device, dtype=dtype, quiet=json)
    guess: Literal["lookup"] | Model | None = None
    if draft == "lookup":
        guess = "lookup"
    elif draft is not None:
        guess = o.open_model(draft, device=device, dtype=dtype, quiet=json)
    if json:
        begun = time.perf_counter()
        done = opened.complete(
            prompt, max_tokens=max_tokens, sampling=sampling, stop=stop or (), logprobs=logprobs, draft=guess
        )
        answer: dict[str, Any] = {
            "model": opened.name,
            "prompt": prompt,
            "text": done.text,
            "finish": done.finish,
            "tokens": done.tokens,
            "steps": done.steps,
            "tokens_per_second": done.tokens / (time.perf_counter() - begun),
            "seed": sampling.seed,
        }
        if logprobs:
            answer["logprobs"] = [{"token": token, "logprob": value} for token, value in done.logprobs]
        screen.print_json(answer)
        return
    pieces = opened.stream(prompt, max_tokens=max_tokens, sampling=sampling, stop=stop or (), draft=guess)
    if prompt.rstrip().endswith(QUESTION_MARKS) and opened.tokenizer.template is not None:
        screen.remark(
            f"{opened.title} is made for conversation: limelight chat answers questions; complete only continues"
        )
    console = screen.stdout()
    if console.is_terminal:
        screen.put(console, prompt)
    try:
        for piece in pieces:
            screen.put(console, piece, screen.ADDED)
    except KeyboardInterrupt:
        pass
    screen.put(console, "\n")
    o.tell_seed(sampling, seed)


def _asked(server: "Server", prompt: str, body: dict[str, Any], logprobs: bool, json: bool) -> None:
    """The same by a server."""
    import time

    from limelight.cli import remote, screen

    if json:
        begun = time.perf_counter()
        done = server.ask("/v1/completions", {**body, "prompt": prompt, **({"logprobs": 0} if logprobs else {})})
        choice, tokens = done["choices"][0], done["usage"]["completion_tokens"]
        answer = {
            "model": done["model"],
            "prompt": prompt,
            "text": choice["text"],
            "finish": choice["finish_reason"],
            "tokens": tokens,
            "tokens_per_second": tokens / (time.perf_counter() - begun),
            "seed": body.get("seed"),
            "request": done["id"],
        }
        if logprobs:
            told = zip(choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"], strict=True)
            answer["logprobs"] = [{"token": token, "logprob": value} for token, value in told]
        screen.print_json(answer)
        return
    console = screen.stdout()
    if console.is_terminal:
        screen.put(console, prompt)
    try:
        for piece in remote.complete(server, prompt, body):
            screen.put(console, piece, screen.ADDED)
    except KeyboardInterrupt:
        pass
    screen.put(console, "\n")
