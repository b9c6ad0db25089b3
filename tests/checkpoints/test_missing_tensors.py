"""A tensor that a file has not is named with the file, whatever its format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints.test_marian import write_bin, write_npz
from gguf import GGUFWriter
from safetensors.torch import save_file

from limelight.checkpoints.reader import open_tensors
from limelight.errors import FileError


def written(format: str, folder: Path) -> Path:
    """A file of a few tensors."""
    path = folder / "a.file"
    if format == "safetensors":
        save_file({"a": torch.ones(2)}, path)
    elif format in ("torch", "old torch"):
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=format == "torch")
    elif format == "gguf":
        writer = GGUFWriter(path, "llama")
        writer.add_tensor("a", np.ones(2, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    elif format == "npz":
        path = write_npz(folder, "")
    else:
        path = write_bin(folder, "", rounded=False)
    return path


@pytest.mark.parametrize("format", ["safetensors", "torch", "old torch", "gguf", "npz", "bin"])
def test_a_tensor_that_is_not_there_is_named_with_its_file(format: str, tmp_path: Path) -> None:
    path = written(format, tmp_path)
    reader = open_tensors(path)
    for ask in (reader.shape, reader.dtype, reader.nbytes, reader.read):
        with pytest.raises(FileError) as error:
            ask("none of these")
        assert str(error.value) == f"{path}: there is no tensor 'none of these'"
