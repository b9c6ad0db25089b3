"""What tests write into GGUF files."""

from typing import Any

import gguf


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """A byte-level tokenizer of 99 tokens."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    letters = [*(chr(i) for i in range(33, 33 + 90)), *(f"<{i}>" for i in range(5)), "ab"]
    writer.add_token_list(["<pad>", "<s>", "</s>", *letters])
    writer.add_token_types([3, 3, 3, *[1] * 96])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def add_keys(writer: gguf.GGUFWriter, architecture: str, keys: dict[str, Any]) -> None:
    """Metadata of an architecture."""
    kinds = {bool: "bool", int: "uint32", float: "float32", str: "string", list: "array"}
    for key, value in keys.items():
        getattr(writer, f"add_{kinds[type(value)]}")(f"{architecture}.{key}", value)


def finish(writer: gguf.GGUFWriter) -> None:
    """Adds a tokenizer and writes the file."""
    add_tokenizer(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
