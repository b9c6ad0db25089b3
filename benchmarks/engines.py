"""The engines that are measured, each in a process of its own.

A process that is not being measured waits for its next order, so engines take turns on the same machine without
sharing memory, threads or caches: ``Remote`` is the near end, this module run as a program the far end.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import limelight

PROMPT = "The transformer reads every word of a sentence at once, and "


class Engine(Protocol):
    """What is asked of an engine; all answers are seconds."""

    def open(self, path: str) -> float:
        """Opens a GGUF file; what was imported for it before does not count."""
        ...

    def prefill(self, tokens: int) -> float:
        """Reads that many tokens and computes the logits behind the last one."""
        ...

    def decode(self, after: int, tokens: int) -> float:
        """Makes that many tokens, greedily and one by one, behind a prompt of `after` tokens that is read before."""
        ...


class Limelight:
    """Ours, as a user opens it."""

    def __init__(self) -> None:
        import limelight.checkpoints.open
        import limelight.decode  # noqa: F401 (importing does not count as opening)

    def open(self, path: str) -> float:
        start = time.perf_counter()
        self.model = limelight.open(path)
        return time.perf_counter() - start

    def _tokens(self, n: int) -> list[int]:
        ids = self.model.tokenizer.encode(PROMPT).ids
        return (ids * (n // len(ids) + 1))[:n]

    def prefill(self, tokens: int) -> float:
        from limelight.decode import generate

        prompt = self._tokens(tokens)
        start = time.perf_counter()
        next(generate(self.model.network, [prompt], max_tokens=1))
        return time.perf_counter() - start

    def decode(self, after: int, tokens: int) -> float:
        from limelight.decode import generate

        steps = generate(self.model.network, [self._tokens(after)], max_tokens=tokens + 1)
        next(steps)
        start = time.perf_counter()
        made = sum(1 for _ in steps)
        assert made == tokens
        return time.perf_counter() - start


class Transformers:
    """Hugging Face transformers, with the file's weights widened to one number type."""

    def __init__(self, dtype: str) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.dtype = getattr(torch, dtype)

    def open(self, path: str) -> float:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        start = time.perf_counter()
        file = Path(path)
        self.tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        self.model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=self.dtype).eval()
        return time.perf_counter() - start

    def _tokens(self, n: int) -> Any:
        import torch

        ids = self.tokenizer(PROMPT)["input_ids"]
        return torch.tensor([(ids * (n // len(ids) + 1))[:n]])

    def prefill(self, tokens: int) -> float:
        import torch

        prompt = self._tokens(tokens)
        start = time.perf_counter()
        with torch.inference_mode():
            self.model(prompt, logits_to_keep=1)
        return time.perf_counter() - start

    def decode(self, after: int, tokens: int) -> float:
        import torch

        with torch.inference_mode():
            out = self.model(self._tokens(after), use_cache=True, logits_to_keep=1)
            start = time.perf_counter()
            for _ in range(tokens):
                token = out.logits[:, -1:].argmax(-1)
                out = self.model(token, past_key_values=out.past_key_values, use_cache=True)
            return time.perf_counter() - start


def engine(name: str) -> Engine:
    """An engine by the name it has in the tables."""
    match name:
        case "limelight":
            return Limelight()
        case "transformers float32":
            return Transformers("float32")
        case "transformers bfloat16":
            return Transformers("bfloat16")
    raise ValueError(name)


class Remote:
    """An engine in a process of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.engines", name]
        # As the command line sets it; for the peers too, so that all share the cores on the same terms.
        environment = {"GOMP_SPINCOUNT": "10000", **os.environ}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def ask(self, what: str, *values: object) -> float:
        """Calls a method over there and returns its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *values]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def peak_mb(self) -> float:
        """The most memory that the process ever held, in MB."""
        return self.ask("peak")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine {self.name!r} ended; its message stands above")
        return float(json.loads(line))


def serve(name: str) -> None:
    """The far end of `Remote`: one answer for each line of standard input."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print must not look like an answer
    here = engine(name)
    print(0.0, file=answers, flush=True)
    for line in sys.stdin:
        what, *values = json.loads(line)
        if what == "peak":
            scale = 1e6 if sys.platform == "darwin" else 1e3
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
        else:
            answer = getattr(here, what)(*values)
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
