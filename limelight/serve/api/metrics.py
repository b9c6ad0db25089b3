"""What a server does, in numbers, as Prometheus reads them."""

from limelight.serve.api.shelf import Shelf, Writer

FIGURES = (
    ("running", "gauge", "Texts that are being written."),
    ("waiting", "gauge", "Texts that wait for a place."),
    ("alive", "gauge", "1 while the engine steps."),
    ("cache_bytes", "gauge", "Bytes of keys and values, of texts that run and of what is kept of others."),
    ("steps_total", "counter", "Steps of the engine."),
    ("prompt_tokens_total", "counter", "Tokens of prompts."),
    ("cached_tokens_total", "counter", "Those of them that were known from before."),
    ("generated_tokens_total", "counter", "Tokens that were written."),
    ("first_token_seconds_sum", "counter", "Seconds until the first token, of all texts together."),
    ("first_token_seconds_count", "counter", "Texts that came to their first token."),
    ("cancelled_total", "counter", "Texts that were given up since nobody waited for them."),
    ("failed_total", "counter", "Texts that ended in an error."),
)


def metrics(shelf: Shelf) -> str:
    """The figures of all open models, in Prometheus' text format."""
    values: dict[str, list[tuple[str, float]]] = {}
    for each in shelf.opened:
        if not isinstance(each, Writer):
            continue
        runner, counts = each.runner, each.runner.counts
        found = {
            "running": runner.running,
            "waiting": runner.waiting,
            "alive": int(runner.alive),
            "cache_bytes": runner.nbytes,
            "steps_total": counts.steps,
            "prompt_tokens_total": counts.prompt,
            "cached_tokens_total": counts.cached,
            "generated_tokens_total": counts.generated,
            "first_token_seconds_sum": counts.first,
            "first_token_seconds_count": counts.begun,
            "cancelled_total": counts.cancelled,
            "failed_total": counts.failed,
        }
        for name, value in found.items():
            values.setdefault(name, []).append((each.name, value))
    lines = []
    for name, kind, what in FIGURES:
        lines += [f"# HELP limelight_{name} {what}", f"# TYPE limelight_{name} {kind}"]
        for model, value in values.get(name, ()):
            escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines.append(
                f'limelight_{name}{{model="{escaped}"}} {value:g}'
                if isinstance(value, float)
                else f'limelight_{name}{{model="{escaped}"}} {value}'
            )
    return "\n".join(lines) + "\n"
