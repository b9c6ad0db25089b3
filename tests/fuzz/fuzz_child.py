"""The process that opens and runs what may be hostile: a path a line on its input, what became of it on its output.

What is asked of a file: it gives a result, or a LimelightError of one line, within the memory that is left to this
process. Everything else is reported as a fault.
"""

import gc
import json
import resource
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

LIMIT = 2 << 30  # bytes beyond what the process has mapped once torch is there
TEXT = "The cat sat on"


def use(path: Path) -> None:
    """Opens a model as a user does and makes it work."""
    import limelight

    model = limelight.open(path)
    if isinstance(model, limelight.Translator):
        next(model.translate([TEXT], beam=2))
        return
    model.complete(TEXT, max_tokens=3)
    model.look(TEXT).next_words(3)
    if model.tokenizer.template:
        list(model.chat([{"role": "user", "content": TEXT}], max_tokens=2))


def outcome(path: Path) -> str:
    """Empty if all is well: opened, or refused in one line."""
    import limelight

    try:
        use(path)
    except limelight.LimelightError as error:
        message = str(error)
        if "\n" in message or not message or len(message) > 2000:
            return f"not one sentence: {message[:3000]!r}"
    except BaseException:  # a panic of the tokenizers library is no Exception
        return traceback.format_exc()
    return ""


def mapped() -> int:
    """Bytes of address space in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def remember() -> None:
    """Of rules and templates that are as in the file before, the answer is kept: each takes a process of its own."""
    from limelight.text import chat, foreign
    from limelight.text.apart import apart

    answers: dict[str, Any] = {}

    def once(function: str, *arguments: Any, what: str, **how: Any) -> Any:
        key = json.dumps([function, *(argument for argument in arguments if argument != what)], sort_keys=True)
        if key not in answers:
            answers[key] = apart(function, *arguments, what=what, **how)
        return answers[key]

    chat.apart = foreign.apart = once


def main() -> None:
    import torch

    import limelight.look  # all that a file's own limits should not count  # noqa: F401

    torch.set_num_threads(1)
    remember()
    warnings.simplefilter("ignore")
    if warm := sys.argv[1:]:  # a sound file, so that what is imported at first use does not count either
        outcome(Path(warm[0]))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (mapped() + LIMIT,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", flush=True)
    for number, line in enumerate(sys.stdin):
        print(json.dumps(outcome(Path(line.rstrip("\n")))), flush=True)
        if number % 50 == 0:
            gc.collect()


if __name__ == "__main__":
    main()
