"""The engines that are measured, each in a process of its own.

A process that is not being measured waits for its next order, so engines take turns on the same machine without
sharing memory, threads or caches: ``Remote`` is the near end, this module run as a program the far end.
"""

import ctypes
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Protocol

import limelight

THREADS = int(os.environ["OMP_NUM_THREADS"])
PROMPT = "The transformer reads every word of a sentence at once, and "


class Engine(Protocol):
    """What is asked of an engine that runs language models; all answers are seconds."""

    def open(self, path: str) -> float:
        """Opens a GGUF file; what was imported for it before does not count."""
        ...

    def prefill(self, tokens: int) -> float:
        """Reads a prompt of that many tokens and chooses the token behind it."""
        ...

    def decode(self, after: int, tokens: int, rows: int) -> float:
        """Makes that many tokens in each of `rows` sequences, greedily and one by one, behind prompts of `after` tokens
        that are read before."""
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

    def prefill(self, tokens: int) -> float:
        from limelight.decode import generate

        given = prompts(self.model.tokenizer.encode(PROMPT).ids, tokens, 1)
        start = time.perf_counter()
        next(generate(self.model.network, given, max_tokens=1))
        return time.perf_counter() - start

    def decode(self, after: int, tokens: int, rows: int) -> float:
        from limelight.decode import generate

        given = prompts(self.model.tokenizer.encode(PROMPT).ids, after, rows)
        steps = generate(self.model.network, given, max_tokens=tokens + 1, draft=None)  # one by one, as the peers
        next(steps)
        start = time.perf_counter()
        made = sum(len(step) for step in steps)
        assert made == tokens * rows
        return time.perf_counter() - start

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, which are the same for all engines."""
        return list(self.model.tokenizer.encode(text).ids)

    def go_on(self, texts: list[list[int]], tokens: int) -> float:
        """Makes that many tokens behind each of the texts, one text after the other, greedily, as by default."""
        from limelight.decode import generate

        seconds = 0.0
        for text in texts:
            steps = generate(self.model.network, [text], max_tokens=tokens + 1)
            next(steps)
            start = time.perf_counter()
            assert sum(len(step) for step in steps) == tokens
            seconds += time.perf_counter() - start
        return seconds


class Transformers:
    """Hugging Face transformers, with the file's weights widened to one number type."""

    def __init__(self, dtype: str) -> None:
        os.environ["TQDM_DISABLE"] = "1"
        warnings.simplefilter("ignore")  # about names of arguments that are to change

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

    def _tokens(self, n: int, rows: int) -> Any:
        import torch

        return torch.tensor(prompts(self.tokenizer(PROMPT)["input_ids"], n, rows))

    def prefill(self, tokens: int) -> float:
        import torch

        prompt = self._tokens(tokens, 1)
        start = time.perf_counter()
        with torch.inference_mode():
            self.model(prompt, logits_to_keep=1).logits.argmax(-1).tolist()
        return time.perf_counter() - start

    def decode(self, after: int, tokens: int, rows: int) -> float:
        import torch

        with torch.inference_mode():
            out = self.model(self._tokens(after, rows), use_cache=True, logits_to_keep=1)
            start = time.perf_counter()
            for _ in range(tokens):
                token = out.logits[:, -1:].argmax(-1)
                out = self.model(token, past_key_values=out.past_key_values, use_cache=True)
            return time.perf_counter() - start


class LlamaCpp:
    """llama.cpp by its C functions, logits only where a token is chosen.

    requantised: the format that the file is turned into first, in a folder that goes with the process; None: as it is.
    """

    ROOM = 9216  # tokens that its contexts hold, of all sequences together
    BATCH = 2048  # tokens that it takes at a time

    def __init__(self, requantised: str | None) -> None:
        import llama_cpp
        import numpy

        self.lib, self.quantiser, self.numpy = llama_cpp, llama_cpp, numpy
        self.requantised = requantised
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        self.contexts: dict[int, Any] = {}

    def open(self, path: str) -> float:
        if self.requantised:
            path = self.requantise(path)
        start = time.perf_counter()
        self.model = self.lib.llama_model_load_from_file(path.encode(), self._parameters())
        assert self.model, f"{self.lib.__name__} cannot open {path}"
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self._context(1)
        return time.perf_counter() - start

    def requantise(self, path: str) -> str:
        """Turns a file into the other format and says where that is."""
        self.folder = tempfile.TemporaryDirectory()
        to = str(Path(self.folder.name) / "model.gguf")
        parameters = self.quantiser.llama_model_quantize_default_params()
        parameters.ftype = getattr(self.quantiser, f"LLAMA_FTYPE_MOSTLY_{self.requantised}")
        parameters.allow_requantize = True
        parameters.nthread = THREADS
        failed = self.quantiser.llama_model_quantize(path.encode(), to.encode(), ctypes.byref(parameters))
        assert not failed, f"llama.cpp cannot turn {path} into {self.requantised}"
        return to

    def _parameters(self) -> Any:
        return self.lib.llama_model_default_params()

    def _context(self, rows: int) -> Any:
        """An empty context for so many sequences."""
        if rows not in self.contexts:
            parameters = self.lib.llama_context_default_params()
            parameters.n_ctx, parameters.n_seq_max, parameters.n_batch = self.ROOM, rows, self.BATCH
            parameters.n_threads = parameters.n_threads_batch = THREADS
            self._choose(parameters)
            self.contexts[rows] = self.lib.llama_init_from_model(self.model, parameters)
            assert self.contexts[rows], f"{self.lib.__name__} has no context for {rows} sequences"
        self._clear(self.contexts[rows])
        return self.contexts[rows]

    def _choose(self, parameters: Any) -> None:
        """What a context has beyond the defaults."""

    def _tokenizer(self) -> Any:
        return self.vocab

    def _clear(self, context: Any) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(context), True)

    def _read(self, context: Any, tokens: list[list[int]], start: int) -> list[int]:
        """Reads tokens [rows, T] behind `start` others and chooses the next of each row."""
        lib, chosen = self.lib, list[int]()
        size = lib.llama_vocab_n_tokens(self.vocab)
        given = [(row, i, token) for row, ids in enumerate(tokens) for i, token in enumerate(ids)]
        for begin in range(0, len(given), self.BATCH):
            part = given[begin : begin + self.BATCH]
            batch = lib.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for at, (row, i, token) in enumerate(part):
                batch.token[at], batch.pos[at] = token, start + i
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, row
                batch.logits[at] = i == len(tokens[0]) - 1
            failed = lib.llama_decode(context, batch)
            assert not failed, f"{lib.__name__} refuses {len(part)} tokens behind {start}"
            for at in [at for at in range(len(part)) if batch.logits[at]]:
                logits = self.numpy.ctypeslib.as_array(lib.llama_get_logits_ith(context, at), (size,))
                chosen.append(int(logits.argmax()))
            lib.llama_batch_free(batch)
        return chosen

    def _prompts(self, n: int, rows: int) -> list[list[int]]:
        text, ids = PROMPT.encode(), (ctypes.c_int32 * 64)()
        count = self.lib.llama_tokenize(self._tokenizer(), text, len(text), ids, len(ids), False, False)
        return prompts(ids[:count], n, rows)

    def prefill(self, tokens: int) -> float:
        given, context = self._prompts(tokens, 1), self._context(1)
        start = time.perf_counter()
        self._read(context, given, 0)
        return time.perf_counter() - start

    def decode(self, after: int, tokens: int, rows: int) -> float:
        return self._written(self._prompts(after, rows), tokens)

    def go_on(self, texts: list[list[int]], tokens: int) -> float:
        """Makes that many tokens behind each of the texts, one text after the other, greedily."""
        return sum(self._written([text], tokens) for text in texts)

    def _written(self, prompts: list[list[int]], tokens: int) -> float:
        context, after = self._context(len(prompts)), len(prompts[0])
        chosen = self._read(context, prompts, 0)
        start = time.perf_counter()
        for n in range(tokens):
            chosen = self._read(context, [[token] for token in chosen], after + n)
        return time.perf_counter() - start


class IkLlamaCpp(LlamaCpp):
    """ik_llama.cpp at its best: weights repacked, flash attention, one sequence a context.

    What its package brings is built for AVX2; IK_LLAMA_CPP_LIB_PATH names a library that was built for this machine.
    """

    def __init__(self) -> None:
        super().__init__("Q4_0")
        from ik_llama_cpp import _ctypes_api

        self.lib = _ctypes_api

    def _parameters(self) -> Any:
        parameters = self.lib.llama_model_default_params()
        parameters.use_mmap, parameters.repack_tensors = False, True
        return parameters

    def _choose(self, parameters: Any) -> None:
        parameters.flash_attn = True

    def _tokenizer(self) -> Any:
        return self.model

    def _clear(self, context: Any) -> None:
        self.lib.llama_kv_cache_clear(context)


class OpenVino:
    """OpenVINO GenAI with the file turned into Q4_0 by llama.cpp, one sequence at a time."""

    def __init__(self) -> None:
        import numpy
        import openvino
        import openvino_genai

        self.numpy, self.tensor, self.lib = numpy, openvino.Tensor, openvino_genai
        self.quantiser = LlamaCpp("Q4_0")
        self.asked = 0

    def open(self, path: str) -> float:
        path = self.quantiser.requantise(path)
        start = time.perf_counter()
        self.model = self.lib.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=THREADS)
        return time.perf_counter() - start

    def _generate(self, after: int, tokens: int) -> Any:
        """Each prompt begins with another token: what it has once read it does not read again."""
        self.asked += 1
        ids = self.numpy.array([[1000 + self.asked, *(500 + i % 40 for i in range(after - 1))]])
        config = self.lib.GenerationConfig(max_new_tokens=tokens, do_sample=False, ignore_eos=True)
        given = self.lib.TokenizedInputs(self.tensor(ids), self.tensor(self.numpy.ones_like(ids)))
        return self.model.generate(given, config)

    def prefill(self, tokens: int) -> float:
        start = time.perf_counter()
        self._generate(tokens, 1)
        return time.perf_counter() - start

    def decode(self, after: int, tokens: int, rows: int) -> float:
        assert rows == 1
        return float(self._generate(after, tokens + 1).perf_metrics.get_tpot().mean) * tokens / 1000


def prompts(ids: list[int], n: int, rows: int) -> list[list[int]]:
    """Prompts of `n` tokens, the ids again and again, each beginning at another of them."""
    return [(ids * (n // len(ids) + 2))[row % len(ids) :][:n] for row in range(rows)]


def default_file() -> str:
    """The default model's file, fetched if it is not on this machine."""
    from limelight.checkpoints.catalog import default
    from limelight.checkpoints.source import fetch, resolve

    return str(fetch(resolve(default())))


def engine(name: str) -> Engine:
    """An engine by the name it has in the tables."""
    match name:
        case "limelight":
            return Limelight()
        case "transformers float32":
            return Transformers("float32")
        case "transformers bfloat16":
            return Transformers("bfloat16")
        case "llama.cpp Q4_1":
            return LlamaCpp(None)
        case "llama.cpp Q4_0":
            return LlamaCpp("Q4_0")
        case "ik_llama.cpp Q4_0":
            return IkLlamaCpp()
        case "OpenVINO Q4_0":
            return OpenVino()
    raise ValueError(name)


class MissingError(Exception):
    """A peer that is not installed; the text says what is missing."""


class Remote:
    """An engine in a process of its own: what ``module.engine(name)`` makes. Raises MissingError where it cannot."""

    def __init__(self, name: str, module: str = "benchmarks.engines") -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.engines", module, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if missing := self._answer():
            self.close()
            raise MissingError(missing)

    def ask(self, what: str, *values: object) -> Any:
        """Calls a method over there and returns its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *values]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def peak_mb(self) -> float:
        """The most memory that the process ever held, in MB."""
        return float(self.ask("peak"))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine {self.name!r} ended; its message stands above")
        return json.loads(line)


def serve(module: str, name: str) -> None:
    """The far end of `Remote`: one answer for each line of standard input, and before that what is missing, if any."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print must not look like an answer
    try:
        here = importlib.import_module(module).engine(name)
    except (ImportError, FileNotFoundError) as error:  # not installed, or its library is not where it should be
        print(json.dumps(f"{name}: {error}"), file=answers, flush=True)
        return
    print("null", file=answers, flush=True)
    for line in sys.stdin:
        what, *values = json.loads(line)
        if what == "peak":
            scale = 1e6 if sys.platform == "darwin" else 1e3
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
        else:
            answer = getattr(here, what)(*values)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
