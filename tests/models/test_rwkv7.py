"""RWKV-7 against the recurrence of the paper, word by word in double precision, from files as its library writes."""

import json
import re
from pathlib import Path

import gguf
import pytest
import torch
import torch.nn.functional as F
from gguf_files import add_keys, finish
from references import write_tokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import save_checkpoint
from limelight.decode import collect, generate
from limelight.errors import ConfigError, TextError
from limelight.look.record import record
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.registry import config_from_hf, config_to_hf

WIDTH, HEADS, LAYERS, VOCAB, T = 32, 2, 3, 99, 75  # more than two chunks
TOKENS = torch.randint(3, VOCAB, (2, T), generator=torch.Generator().manual_seed(1))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
CONFIG = {
    "model_type": "rwkv7",
    "architectures": ["RWKV7ForCausalLM"],
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCAB,
    "head_dim": WIDTH // HEADS,
    "decay_low_rank_dim": 6,
    "a_low_rank_dim": 5,
    "v_low_rank_dim": 4,
    "gate_low_rank_dim": 7,
    "num_heads": HEADS,
    "hidden_ratio": 3.5,
    "intermediate_size": None,
    "value_dim": [WIDTH] * LAYERS,
    "hidden_act": "sqrelu",
    "norm_first": True,
    "norm_bias": True,
    "norm_eps": 1e-5,
    "attn": None,
    "attn_mode": "chunk",
    "fuse_norm": True,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
RANKS = {"w": 6, "a": 5, "v": 4, "g": 7}
HIDDEN = 128  # 3.5 times the width, and up to a multiple of 32


def drawn_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.3 + 0.1

    weights = {"model.embeddings.weight": drawn(VOCAB, WIDTH), "lm_head.weight": drawn(VOCAB, WIDTH)}
    norms = ["model.norm", "model.layers.0.pre_norm"]
    for i in range(LAYERS):
        place = f"model.layers.{i}."
        norms += [f"{place}attn_norm", f"{place}ffn_norm", f"{place}attn.g_norm"]
        weights |= {f"{place}attn.x_{part}": drawn(1, 1, WIDTH) + 0.4 for part in "rwkvag"}
        weights |= {f"{place}attn.{part}_proj.weight": drawn(WIDTH, WIDTH) for part in "rkvo"}
        weights |= {f"{place}attn.k_k": drawn(WIDTH) + 0.7, f"{place}attn.k_a": drawn(WIDTH) + 0.9}
        weights |= {f"{place}attn.r_k": drawn(HEADS, WIDTH // HEADS), f"{place}ffn.x_k": drawn(WIDTH) + 0.4}
        for part, rank in RANKS.items():
            if part == "v" and not i:
                continue
            weights[f"{place}attn.{part}_lora.lora.0.weight"] = drawn(rank, WIDTH)
            weights[f"{place}attn.{part}_lora.lora.2.weight"] = drawn(WIDTH, rank)
            if part != "g":
                weights[f"{place}attn.{part}_lora.lora.2.bias"] = 3 * drawn(WIDTH)
        weights |= {f"{place}ffn.key.weight": drawn(HIDDEN, WIDTH), f"{place}ffn.value.weight": drawn(WIDTH, HIDDEN)}
    for norm in norms:
        weights |= {f"{norm}.weight": drawn(WIDTH) + 0.9, f"{norm}.bias": drawn(WIDTH)}
    return weights


WEIGHTS = drawn_weights()


def plainly(tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits [T, V] and what stands behind each layer [T, W], by sections 3 and 4 of the paper."""
    at = {name: weight.double().squeeze() for name, weight in WEIGHTS.items()}

    def normal(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), at[f"{name}.weight"], at[f"{name}.bias"], 1e-5)

    def behind(x: Tensor) -> Tensor:
        return torch.cat((torch.zeros(1, WIDTH, dtype=x.dtype), x[:-1]))

    x = normal(at["model.embeddings.weight"][tokens], "model.layers.0.pre_norm")
    first, states = None, []
    for i in range(LAYERS):
        place = f"model.layers.{i}.attn."
        read = normal(x, place[:-1] + "_norm")
        mixed = {part: read + (behind(read) - read) * at[f"{place}x_{part}"] for part in "rwkvag"}

        def low(part: str, act: object, place: str = place, mixed: dict[str, Tensor] = mixed) -> Tensor:
            name = f"{place}{part}_lora.lora."
            out = act(mixed[part] @ at[f"{name}0.weight"].T) @ at[f"{name}2.weight"].T
            return out + at.get(f"{name}2.bias", 0.0)

        r, k, v = (mixed[part] @ at[f"{place}{part}_proj.weight"].T for part in "rkv")
        decay = torch.exp(-torch.exp(torch.tensor(-0.5).double()) * low("w", torch.tanh).sigmoid())
        rate = low("a", lambda x: x).sigmoid()
        if first is None:
            first = v
        else:
            v = v + (first - v) * low("v", lambda x: x).sigmoid()
        removed, key = k * at[f"{place}k_k"], k * (1 + (rate - 1) * at[f"{place}k_a"])
        outs = []
        for head in torch.arange(WIDTH).view(HEADS, -1):
            state = torch.zeros(len(head), len(head), dtype=x.dtype)  # values × keys
            for t in range(len(tokens)):
                gone = removed[t, head] / removed[t, head].norm()
                state = state @ (torch.diag(decay[t, head]) - torch.outer(gone, rate[t, head] * gone))
                state = state + torch.outer(v[t, head], key[t, head])
                outs.append(state @ r[t, head])
        y = torch.stack(outs).view(HEADS, len(tokens), -1)
        y = F.layer_norm(y, y.shape[-1:], eps=1e-5 * y.shape[-1]).transpose(0, 1).flatten(1)
        y = y * at[f"{place}g_norm.weight"] + at[f"{place}g_norm.bias"]
        bonus = (r * key * at[f"{place}r_k"].flatten()).view(-1, HEADS, WIDTH // HEADS).sum(-1)
        y = y + bonus.repeat_interleave(WIDTH // HEADS, 1) * v
        x = x + (y * low("g", torch.sigmoid)) @ at[f"{place}o_proj.weight"].T
        place = f"model.layers.{i}.ffn"
        read = normal(x, f"{place}_norm")
        mixed_key = read + (behind(read) - read) * at[f"{place}.x_k"]
        x = x + (mixed_key @ at[f"{place}.key.weight"].T).relu().square() @ at[f"{place}.value.weight"].T
        states.append(x)
    return normal(x, "model.norm") @ at["lm_head.weight"].T, states


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rwkv7")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(WEIGHTS, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(folder, VOCAB)
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> Decoder:
    return open_checkpoint(folder).network


@torch.inference_mode()
def test_logits_and_hidden_states_are_the_papers(ours: Decoder) -> None:
    recording = record(ours, attention=[], hidden=range(LAYERS))
    logits = recording.network(TOKENS)
    for row, tokens in enumerate(TOKENS):
        expected, states = plainly(tokens)
        assert expected.std() > 0.1
        scale = float(expected.std())
        torch.testing.assert_close(logits[row].double(), expected, rtol=1e-5, atol=1e-5 * scale)
        for layer, state in enumerate(states):
            torch.testing.assert_close(
                recording.hidden[layer][row].double(), state, rtol=1e-5, atol=1e-5 * float(state.std())
            )


@torch.inference_mode()
def test_in_steps_in_pieces_and_beside_others_as_at_once(ours: Decoder) -> None:
    whole = ours(TOKENS)
    close = {"rtol": 1e-5, "atol": 1e-5 * float(whole.std())}
    state = ours.start(2, T)
    pieces = [TOKENS[:, :1], TOKENS[:, 1:2], TOKENS[:, 2:44], TOKENS[:, 44:45], TOKENS[:, 45:]]
    torch.testing.assert_close(torch.cat([ours.step(piece, state) for piece in pieces], 1), whole, **close)
    counts = torch.tensor([5, 40])
    state = ours.start(2, T)
    ours.step(TOKENS[:, :40], state, counts)
    state = state.select(torch.tensor([1, 0]))
    next_logits = ours.step(TOKENS[[1, 0], [40, 5]][:, None], state)[:, 0]
    torch.testing.assert_close(next_logits, torch.stack((whole[1, 40], whole[0, 5])), **close)


def test_greedy_is_the_likeliest_word_of_the_paper(ours: Decoder) -> None:
    prompts = [TOKENS[0, :18].tolist(), TOKENS[1, :4].tolist()]
    for prompt, made in zip(prompts, collect(generate(ours, prompts, max_tokens=2)), strict=True):
        tokens = list(prompt)
        for _ in range(2):
            tokens.append(int(plainly(torch.tensor(tokens))[0][-1].argmax()))
        assert made.ids == tokens[len(prompt) :]


def test_what_is_saved_is_what_was_opened_bit_for_bit(ours: Decoder, folder: Path, tmp_path: Path) -> None:
    save_checkpoint(ours, open_checkpoint(folder).tokenizer, tmp_path / "saved")
    again = load_file(tmp_path / "saved" / "model.safetensors")
    assert set(again) == set(WEIGHTS)
    assert all(torch.equal(again[name], weight) for name, weight in WEIGHTS.items())
    said = json.loads((tmp_path / "saved" / "config.json").read_text())
    same = {name: value for name, value in CONFIG.items() if value is not None}
    assert said == {**said, **same, "intermediate_size": HIDDEN}
    assert config_from_hf(said) == ours.config


@torch.inference_mode()
def test_the_older_files_with_all_mixtures_in_one_open_alike(ours: Decoder, folder: Path, tmp_path: Path) -> None:
    weights = dict(WEIGHTS)
    for i in range(LAYERS):
        place = f"model.layers.{i}.attn.x_"
        weights[f"{place}x"] = torch.cat([weights.pop(place + part)[0] for part in "rwkvag"])
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(tmp_path, VOCAB)
    assert torch.equal(open_checkpoint(tmp_path).network(TOKENS), ours(TOKENS))


CONVERTED = {
    "model.embeddings": "token_embd",
    "model.layers.0.pre_norm": "token_embd_norm",
    "model.norm": "output_norm",
    "lm_head": "output",
    "attn_norm": "attn_norm",
    "ffn_norm": "attn_norm_2",
    "attn.r_proj": "time_mix_receptance",
    "attn.k_proj": "time_mix_key",
    "attn.v_proj": "time_mix_value",
    "attn.o_proj": "time_mix_output",
    "attn.g_norm": "time_mix_ln",
    "ffn.x_k": "channel_mix_lerp_k.weight",
    "ffn.key": "channel_mix_key",
    "ffn.value": "channel_mix_value",
}
"""What llama.cpp's converter calls the tensors whose names follow no rule."""


def converted() -> dict[str, Tensor]:
    """The weights as llama.cpp has them: mixtures in one tensor, and values of the first layer that are not read."""
    made: dict[str, Tensor] = {}
    for name, weight in WEIGHTS.items():
        layer = re.match(r"model\.layers\.(\d+)\.(.+)", name)
        place = f"blk.{layer[1]}." if layer and "pre_norm" not in name else ""
        rest = layer[2] if layer and place else name
        if low := re.match(r"attn\.([wavg])_lora\.lora\.(0|2)\.(weight|bias)", rest):
            number = 0 if low[3] == "bias" else 1 + int(low[2]) // 2
            made[f"{place}time_mix_{low[1]}{number}.weight"] = weight
        elif rest.startswith("attn.x_"):
            continue
        elif rest in {"attn.k_k", "attn.k_a", "attn.r_k"}:
            made[f"{place}time_mix_{rest[5:]}.weight"] = weight.flatten()
        elif rest in CONVERTED:
            made[place + CONVERTED[rest]] = weight
        else:
            body, _, kind = rest.rpartition(".")
            made[f"{place}{CONVERTED[body]}.{kind}"] = weight
    for i in range(LAYERS):
        mixtures = [WEIGHTS[f"model.layers.{i}.attn.x_{part}"] for part in "rwkvag"]
        made[f"blk.{i}.time_mix_lerp_fused.weight"] = torch.stack(mixtures)
    return made | {f"blk.0.time_mix_v{i}.weight": made[f"blk.0.time_mix_a{i}.weight"] for i in range(3)}


@torch.inference_mode()
def test_a_gguf_file_opens_alike(ours: Decoder, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "rwkv7")
    keys = {"context_length": 1 << 20, "embedding_length": WIDTH, "block_count": LAYERS, "feed_forward_length": HIDDEN}
    keys |= {"wkv.head_size": WIDTH // HEADS, "attention.head_count": 0, "attention.decay_lora_rank": RANKS["w"]}
    keys |= {"attention.iclr_lora_rank": RANKS["a"], "attention.value_residual_mix_lora_rank": RANKS["v"]}
    keys |= {"attention.gate_lora_rank": RANKS["g"], "attention.layer_norm_epsilon": 1e-5}
    add_keys(writer, "rwkv7", keys)
    known = gguf.MODEL_TENSORS[gguf.MODEL_ARCH.RWKV7]
    names = {gguf.TENSOR_NAMES[tensor].format(bid=i) for tensor in known for i in range(LAYERS)}
    for name, weight in converted().items():
        assert name.rpartition(".")[0] in names
        writer.add_tensor(name, weight.numpy())
    finish(writer)
    torch.testing.assert_close(open_checkpoint(tmp_path / "model.gguf").network(TOKENS), ours(TOKENS), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn", {"layers": [1]}),
        ("head_dim", 10),
        ("hidden_act", "silu"),
        ("value_dim", 2 * WIDTH),
        ("num_hidden_layers", 0),
    ],
)
def test_a_key_that_cannot_be_followed_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' is "):
        config_from_hf({**CONFIG, key: value})


def test_a_world_vocabulary_that_is_not_whole_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "rwkv_vocab_v20230424.txt").write_text("1 '\\x00' 1\n")
    with pytest.raises(
        TextError, match=r"rwkv_vocab_v20230424\.txt is none of RWKV's World: not every byte is a token"
    ):
        open_checkpoint(tmp_path)


def test_a_new_one_learns_by_all_of_its_weights() -> None:
    config = config_from_hf({**CONFIG, "tie_word_embeddings": True, "head_dim": None})
    assert config_from_hf(config_to_hf(config)) == config
    network = build(config).train()
    initialise(network, torch.Generator().manual_seed(0))
    mixes = [parameter for name, parameter in network.named_parameters() if ".mix" in name]
    assert len(mixes) == 7 * CONFIG["num_hidden_layers"]
    assert all(0 <= share <= 1 for mix in mixes for share in mix.tolist())  # of the word before
    network(TOKENS).log_softmax(-1)[:, :, 5].sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
