"""Opening a model as what it is, and saving it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

from limelight import given
from limelight.encoder import Embedder, EncoderModel
from limelight.errors import RequestError
from limelight.labels import kind_of
from limelight.model import Model, Translator

if TYPE_CHECKING:
    from limelight.checkpoints.open import Opened

AnyModel: TypeAlias = Model | Translator | EncoderModel
"""What `open` returns."""

Kind = TypeVar("Kind", bound="Model | Translator | EncoderModel")


@overload
def open(
    model: str | Path = ...,
    *,
    dtype: str | None = ...,
    device: str = ...,
    progress: Callable[[int, int, str], None] | None = ...,
    kind: None = ...,
) -> AnyModel: ...


@overload
def open(
    model: str | Path = ...,
    *,
    dtype: str | None = ...,
    device: str = ...,
    progress: Callable[[int, int, str], None] | None = ...,
    kind: type[Kind],
) -> Kind: ...


def open(
    model: str | Path = "smollm2",
    *,
    dtype: str | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
    kind: type[Kind] | None = None,
) -> AnyModel | Kind:
    """Opens a model by short name, folder (also that of a training), file (.gguf, .safetensors, torch's) or hub id
    (org/name), as what it is: a Model, which continues texts; a Translator, an encoder–decoder or a language model that
    has learnt to translate; an Embedder, a MaskedModel, a Classifier, or an EncoderModel with another head.

    A model that is not on this machine is fetched first; one that is opens without any network call. dtype:
    "float32", "bfloat16" or "float16"; without it weights keep the type they have in the file, and low-bit layers
    stay low-bit; "q8_0" rounds float weights to 8 bits, for speed on a CPU. progress: called with bytes done, bytes in
    all and a note while fetching. kind: the class that it must be, for a type checker and for who depends on it.
    Raises a LimelightError that says what to do, RequestError if the model is of another kind.
    """
    given.path("model", model)
    if dtype is not None:
        given.text("dtype", dtype)
    given.text("device", device)
    given.callback("progress", progress)
    if kind is not None and not (isinstance(kind, type) and issubclass(kind, Model | Translator | EncoderModel)):
        raise RequestError(
            f"kind is {given.shown(kind)}; it must be Model, Translator or another class of opened models"
        )
    import torch

    from limelight.checkpoints.open import open_checkpoint

    with torch.inference_mode(False):  # the weights are to be used outside of that mode, too
        checkpoint = open_checkpoint(model, dtype=dtype, device=device, progress=progress)
    found = _opened(checkpoint, str(model))
    if kind is not None and not isinstance(found, kind):
        raise RequestError(f"{model} is a {type(found).__name__}, not a {kind.__name__}")
    return found


def _opened(checkpoint: Opened, name: str) -> AnyModel:
    from limelight.models.api import Decoder, Encoder

    network, tokenizer, path = checkpoint.network, checkpoint.tokenizer, checkpoint.path
    if isinstance(network, Encoder):
        kind = kind_of(network)
        if kind is Embedder:
            return Embedder(network, tokenizer, name, path, checkpoint.sentences)
        return kind(network, tokenizer, name, path)
    if isinstance(network, Decoder) and not network.config.translates:
        return Model(network, tokenizer, name, path)
    from limelight.tasks import Language
    from limelight.tasks.generation import Generation

    config = network.config
    generation = Generation() if isinstance(network, Decoder) else Generation.read(checkpoint.generation, config)
    language = Language(
        checkpoint.source,
        tokenizer,
        generation.start,
        generation.forced,
        framed=not config.family.startswith("limelight-") and not isinstance(network, Decoder),
        generation=generation,
        shortlist=checkpoint.shortlist,
    )
    return Translator(network, language, name, path)


def save(model: AnyModel, folder: str | Path, kind: str | None = None) -> None:
    """Writes `model` as a new Hugging Face folder, which transformers itself opens where it knows the family; low-bit
    layers become float32.

    A name that ends in ".gguf" is a file that llama.cpp opens, with tokenizer and chat template, of a language model.
    kind: of its matrices, "f32", "f16" (None), "q8_0" or "q4_0". Raises RequestError if the folder exists and is not
    empty, or the model cannot be written so, FileError if it cannot be written.
    """
    from limelight.checkpoints.save import save_checkpoint

    if isinstance(model, AnyModel) and any(
        each._forward_hooks or each._forward_pre_hooks for each in model.network.modules()
    ):
        raise RequestError(
            "this model is changed by hooks, which are no weights to be saved; save the model it is a twin of"
        )
    path = destination(folder, kind)
    if path.suffix == ".gguf":
        if not isinstance(model, Model):
            raise RequestError("only a language model is written as GGUF; name a folder")
        from limelight.checkpoints.gguf_save import save_gguf

        save_gguf(model.network, model.tokenizer, path, kind or "f16")
    elif isinstance(model, Translator):
        language = model.language
        save_checkpoint(
            model.network,
            language.target,
            path,
            source=language.source,
            generation=language.generation.said,
        )
    elif isinstance(model, Model | EncoderModel):
        said = model.sentences if isinstance(model, Embedder) else None
        save_checkpoint(model.network, model.tokenizer, path, said=said)
    else:
        raise RequestError(f"model is {given.shown(model)}; it must be what limelight.open returns")


def destination(folder: str | Path, kind: str | None) -> Path:
    """Where `save` would write, known before a model is opened. Raises RequestError for a place that is taken, and for
    a kind that is none or that only a file has."""
    path = given.path("folder", folder)
    if path.suffix == ".gguf":
        from limelight.checkpoints.gguf_save import check_file

        check_file(path, kind or "f16")
    elif kind is not None:
        raise RequestError(f"kind is {given.shown(kind)}; only a file that ends in .gguf has one")
    else:
        from limelight.checkpoints.save import check_folder

        check_folder(path)
    return path
