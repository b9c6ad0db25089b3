"""Tiny randomly initialised reference models by transformers, one or more for each family.

Weights have a visible spread and biases are not zero, since default initialisation hides errors.
"""

from pathlib import Path

import torch
import transformers as hf

SIZES = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "vocab_size": 99,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = SIZES | {"num_key_value_heads": 2}


def _rope(kind: str, **values: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **values}}


FALCON = {name: value for name, value in SIZES.items() if name != "intermediate_size"}
OPT = {name: value for name, value in SIZES.items() if name != "intermediate_size"} | {"ffn_dim": 96}

SPARSE = GROUPED | {"num_experts_per_tok": 2}

STATES = {"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 99, "state_size": 8}
STATES |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

HYBRID = GROUPED | {
    "head_dim": 16, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_num_value_heads": 4,
    "linear_value_head_dim": 12, "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}  # fmt: skip

DEEPSEEK = SIZES | {
    "num_key_value_heads": 4, "kv_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 12, "v_head_dim": 16,
    "moe_intermediate_size": 32, "n_routed_experts": 6, "n_shared_experts": 2, "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
}  # fmt: skip

HALVES = {"short_factor": [1.0 + 0.1 * i for i in range(8)], "long_factor": [1.0 + 0.5 * i for i in range(8)]}

CONFIGS: dict[str, hf.PretrainedConfig] = {
    "gpt2": hf.GPT2Config(
        n_embd=64, n_head=4, n_layer=3, n_positions=128, vocab_size=99, bos_token_id=1, eos_token_id=2
    ),
    "gpt2-scaled-by-layer": hf.GPT2Config(
        n_embd=64, n_head=4, n_layer=3, n_inner=96, n_positions=128, vocab_size=99, bos_token_id=1, eos_token_id=2,
        scale_attn_by_inverse_layer_idx=True, activation_function="relu",
    ),
    "llama": hf.LlamaConfig(**GROUPED),
    "llama-biases-tied": hf.LlamaConfig(
        **GROUPED, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, head_dim=32
    ),
    "llama-linear": hf.LlamaConfig(**GROUPED, **_rope("linear", factor=4.0)),
    "llama-dynamic": hf.LlamaConfig(**(GROUPED | {"max_position_embeddings": 32}), **_rope("dynamic", factor=4.0)),
    "llama-llama3": hf.LlamaConfig(
        **GROUPED,
        **_rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16),
    ),
    "llama-yarn": hf.LlamaConfig(**GROUPED, **_rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "llama-longrope": hf.LlamaConfig(
        **GROUPED, **_rope("longrope", factor=4.0, original_max_position_embeddings=32, **HALVES)
    ),
    "mistral": hf.MistralConfig(**GROUPED, sliding_window=5),
    "qwen2": hf.Qwen2Config(**GROUPED),
    "qwen2-windows": hf.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "qwen3": hf.Qwen3Config(**GROUPED, head_dim=32),
    "gemma": hf.GemmaConfig(**GROUPED, head_dim=32),
    "gemma2": hf.Gemma2Config(
        **GROUPED, head_dim=32, sliding_window=5, query_pre_attn_scalar=20,
        attn_logit_softcapping=2.0, final_logit_softcapping=3.0,
    ),
    "gemma3_text": hf.Gemma3TextConfig(
        **GROUPED, head_dim=32, sliding_window=5, query_pre_attn_scalar=20, sliding_window_pattern=2,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
        },
    ),
    "phi3": hf.Phi3Config(**GROUPED, sliding_window=7),
    "phi3-longrope": hf.Phi3Config(
        **GROUPED, original_max_position_embeddings=32, **_rope("longrope", **HALVES)
    ),
    "olmo": hf.OlmoConfig(**GROUPED, clip_qkv=1.5),
    "olmo2": hf.Olmo2Config(**GROUPED),
    "olmo3": hf.Olmo3Config(
        **(GROUPED | {"num_hidden_layers": 4}), sliding_window=5,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
    "smollm3": hf.SmolLM3Config(**(GROUPED | {"num_hidden_layers": 4}), sliding_window=5),
    "granite": hf.GraniteConfig(
        **GROUPED, embedding_multiplier=3.0, logits_scaling=1.7, residual_multiplier=0.3, attention_multiplier=0.1,
    ),
    "granitemoe": hf.GraniteMoeConfig(
        **SPARSE, num_local_experts=4, embedding_multiplier=3.0, logits_scaling=1.7, residual_multiplier=0.3,
    ),
    "granitemoehybrid": hf.GraniteMoeHybridConfig(
        **SPARSE, num_local_experts=4, shared_intermediate_size=40, residual_multiplier=0.3, attention_multiplier=0.1,
        mamba_n_heads=8, mamba_d_state=8, mamba_n_groups=2, mamba_chunk_size=8,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
    "granitemoehybrid-dense": hf.GraniteMoeHybridConfig(
        **SPARSE, num_local_experts=0, position_embedding_type="rope", layer_types=["full_attention"] * 3,
        mamba_n_heads=8, shared_intermediate_size=64,
    ),
    "lfm2": hf.Lfm2Config(**GROUPED, block_multiple_of=8, layer_types=["conv", "full_attention", "conv"]),
    "starcoder2": hf.Starcoder2Config(**GROUPED),
    "phi": hf.PhiConfig(**GROUPED),
    "phi-normed": hf.PhiConfig(**GROUPED, qk_layernorm=True),
    "stablelm": hf.StableLmConfig(**GROUPED, use_qkv_bias=True),
    "stablelm-parallel": hf.StableLmConfig(**GROUPED, use_parallel_residual=True, qk_layernorm=True),
    "cohere": hf.CohereConfig(**GROUPED, use_qk_norm=True, logit_scale=0.3),
    "cohere2": hf.Cohere2Config(**(GROUPED | {"num_hidden_layers": 4}), sliding_window=5, logit_scale=0.3),
    "glm": hf.GlmConfig(**GROUPED, head_dim=16),
    "glm4": hf.Glm4Config(**GROUPED, head_dim=16),
    "falcon": hf.FalconConfig(**FALCON, bias=True),
    "falcon-serial": hf.FalconConfig(**FALCON, parallel_attn=False, multi_query=False),
    "falcon-grouped": hf.FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "gptj": hf.GPTJConfig(
        n_embd=64, n_head=4, n_layer=3, n_positions=128, rotary_dim=8, vocab_size=99, bos_token_id=1, eos_token_id=2
    ),
    "gpt_neo": hf.GPTNeoConfig(
        hidden_size=64, num_heads=4, num_layers=3, intermediate_size=96, window_size=5,
        attention_types=[[["global"], 1], [["local"], 2]],
        max_position_embeddings=128, vocab_size=99, bos_token_id=1, eos_token_id=2,
    ),
    "opt": hf.OPTConfig(**OPT),
    "opt-post": hf.OPTConfig(**OPT, do_layer_norm_before=False, enable_bias=False),
    "bloom": hf.BloomConfig(
        hidden_size=48, n_head=3, n_layer=3, vocab_size=99, seq_length=128, bos_token_id=1, eos_token_id=2
    ),
    "mpt": hf.MptConfig(
        d_model=64, n_heads=4, n_layers=3, vocab_size=99, max_seq_len=128, bos_token_id=1, eos_token_id=2,
        attn_config={"clip_qkv": 1.5},
    ),
    "arcee": hf.ArceeConfig(**GROUPED, mlp_bias=True),
    "helium": hf.HeliumConfig(**GROUPED, head_dim=16),
    "ernie4_5": hf.Ernie4_5Config(**GROUPED, head_dim=32, use_bias=True),
    "exaone4": hf.Exaone4Config(
        **(GROUPED | {"num_hidden_layers": 4}), head_dim=16, sliding_window=5, sliding_window_pattern=2
    ),
    "exaone4-without-windows": hf.Exaone4Config(**GROUPED, sliding_window=None, layer_types=["full_attention"] * 3),
    "ministral": hf.MinistralConfig(
        **GROUPED, head_dim=32, sliding_window=5, layer_types=["full_attention", *["sliding_attention"] * 2]
    ),
    "mixtral": hf.MixtralConfig(**SPARSE, num_local_experts=4),
    "qwen2_moe": hf.Qwen2MoeConfig(
        **SPARSE, num_experts=4, moe_intermediate_size=32, shared_expert_intermediate_size=40
    ),
    "qwen2_moe-some-dense": hf.Qwen2MoeConfig(
        **SPARSE, num_experts=4, moe_intermediate_size=32, shared_expert_intermediate_size=40, mlp_only_layers=[1],
        norm_topk_prob=True,
    ),
    "qwen3_moe": hf.Qwen3MoeConfig(
        **SPARSE, head_dim=32, num_experts=4, moe_intermediate_size=32, norm_topk_prob=True
    ),
    "olmoe": hf.OlmoeConfig(**SPARSE, num_experts=4),
    "gpt_oss": hf.GptOssConfig(**SPARSE, head_dim=16, num_local_experts=4, sliding_window=5),
    "deepseek_v2": hf.DeepseekV2Config(
        **DEEPSEEK, q_lora_rank=20, topk_method="group_limited_greedy", n_group=3, topk_group=2,
        routed_scaling_factor=1.5, **_rope("yarn", factor=4.0, original_max_position_embeddings=32, mscale=0.7,
                                           mscale_all_dim=0.8),
    ),
    "deepseek_v2-lite": hf.DeepseekV2Config(**DEEPSEEK, q_lora_rank=None, attention_bias=True),
    "deepseek_v3": hf.DeepseekV3Config(**DEEPSEEK, q_lora_rank=20, n_group=3, topk_group=2),
    "mamba": hf.MambaConfig(**STATES, time_step_rank=5, use_bias=True),
    "mamba2": hf.Mamba2Config(**STATES, num_heads=8, head_dim=16, n_groups=2, chunk_size=8),
    "qwen3_next": hf.Qwen3NextConfig(
        **HYBRID, num_experts_per_tok=2, num_experts=4, moe_intermediate_size=32, shared_expert_intermediate_size=40,
        mlp_only_layers=[1],
    ),
    "qwen3_5_text": hf.Qwen3_5TextConfig(**HYBRID, attention_bias=True),
    "gpt_neox": hf.GPTNeoXConfig(**SIZES),
    "gpt_neox-serial-tied": hf.GPTNeoXConfig(**SIZES, use_parallel_residual=False, tie_word_embeddings=True),
}  # fmt: skip

ANOTHER_ORDER = {"gemma": 1.0, "olmo": 10.0, "qwen3_next": 5.0, "qwen3_5_text": 5.0}
"""Those whose reference adds up in another order than we do, and how large their states are."""

FOLLOWING = ("llama-dynamic", "llama-longrope", "phi3-longrope")
"""Those whose rotary frequencies follow the length of the text, beyond 32 tokens."""


LABELS = {"id2label": {0: "bad", 1: "fine", 2: "good"}, "label2id": {"bad": 0, "fine": 1, "good": 2}}

ROBERTA = SIZES | {"max_position_embeddings": 130, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0}
DISTILBERT = {"dim": 64, "n_heads": 4, "n_layers": 3, "hidden_dim": 96, "vocab_size": 99}
DISTILBERT |= {"max_position_embeddings": 128, "pad_token_id": 0}
MPNET = SIZES | {"max_position_embeddings": 130, "pad_token_id": 1, "bos_token_id": 0}
MODERNBERT = SIZES | {"local_attention": 6}
BIASED = {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True, "decoder_bias": False}
DEBERTA = SIZES | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
DEBERTA3 = DEBERTA | {"position_buckets": 8, "max_relative_positions": 32, "norm_rel_ebd": "layer_norm"}
DEBERTA3 |= {"share_att_key": True, "position_biased_input": False}

ENCODERS: dict[str, tuple[hf.PretrainedConfig, type]] = {
    "bert-masked": (hf.BertConfig(**SIZES), hf.BertForMaskedLM),
    "bert-classes": (hf.BertConfig(**SIZES, **LABELS, hidden_act="relu"), hf.BertForSequenceClassification),
    "bert-tokens": (hf.BertConfig(**SIZES, **LABELS, type_vocab_size=3), hf.BertForTokenClassification),
    "bert-spans": (hf.BertConfig(**SIZES), hf.BertForQuestionAnswering),
    "bert-states": (hf.BertConfig(**SIZES), hf.BertModel),
    "bert-own-scores": (hf.BertConfig(**SIZES, tie_word_embeddings=False), hf.BertForMaskedLM),
    "roberta-masked": (hf.RobertaConfig(**ROBERTA, hidden_act="relu"), hf.RobertaForMaskedLM),
    "roberta-classes": (hf.RobertaConfig(**ROBERTA, **LABELS), hf.RobertaForSequenceClassification),
    "roberta-tokens": (hf.RobertaConfig(**ROBERTA, **LABELS), hf.RobertaForTokenClassification),
    "roberta-spans": (hf.RobertaConfig(**ROBERTA), hf.RobertaForQuestionAnswering),
    "roberta-states": (hf.RobertaConfig(**(ROBERTA | {"type_vocab_size": 2})), hf.RobertaModel),
    "xlm-roberta-masked": (hf.XLMRobertaConfig(**ROBERTA, tie_word_embeddings=False), hf.XLMRobertaForMaskedLM),
    "xlm-roberta-classes": (hf.XLMRobertaConfig(**ROBERTA, **LABELS), hf.XLMRobertaForSequenceClassification),
    "camembert-masked": (hf.CamembertConfig(**ROBERTA), hf.CamembertForMaskedLM),
    "distilbert-masked": (hf.DistilBertConfig(**DISTILBERT), hf.DistilBertForMaskedLM),
    "distilbert-classes": (hf.DistilBertConfig(**DISTILBERT, **LABELS), hf.DistilBertForSequenceClassification),
    "distilbert-tokens": (hf.DistilBertConfig(**DISTILBERT, **LABELS), hf.DistilBertForTokenClassification),
    "distilbert-spans": (hf.DistilBertConfig(**(DISTILBERT | {"n_layers": 2})), hf.DistilBertForQuestionAnswering),
    "distilbert-states": (hf.DistilBertConfig(**DISTILBERT, activation="relu"), hf.DistilBertModel),
    "albert-masked": (hf.AlbertConfig(**SIZES, embedding_size=32), hf.AlbertForMaskedLM),
    "albert-classes": (
        hf.AlbertConfig(**SIZES, **LABELS, embedding_size=64, num_hidden_groups=2),
        hf.AlbertForSequenceClassification,
    ),
    "albert-tokens": (hf.AlbertConfig(**SIZES, **LABELS, embedding_size=32), hf.AlbertForTokenClassification),
    "albert-spans": (hf.AlbertConfig(**SIZES, embedding_size=32, inner_group_num=2), hf.AlbertForQuestionAnswering),
    "albert-states": (hf.AlbertConfig(**SIZES, embedding_size=32, num_hidden_groups=3), hf.AlbertModel),
    "mpnet-masked": (hf.MPNetConfig(**MPNET), hf.MPNetForMaskedLM),
    "mpnet-classes": (hf.MPNetConfig(**MPNET, **LABELS), hf.MPNetForSequenceClassification),
    "mpnet-tokens": (hf.MPNetConfig(**MPNET, **LABELS), hf.MPNetForTokenClassification),
    "mpnet-spans": (hf.MPNetConfig(**MPNET), hf.MPNetForQuestionAnswering),
    "mpnet-states": (hf.MPNetConfig(**MPNET), hf.MPNetModel),
    "modernbert-masked": (hf.ModernBertConfig(**MODERNBERT), hf.ModernBertForMaskedLM),
    "modernbert-classes": (hf.ModernBertConfig(**MODERNBERT, **LABELS), hf.ModernBertForSequenceClassification),
    "modernbert-mean": (
        hf.ModernBertConfig(**MODERNBERT, **LABELS, **BIASED, classifier_pooling="mean"),
        hf.ModernBertForSequenceClassification,
    ),
    "modernbert-tokens": (hf.ModernBertConfig(**MODERNBERT, **LABELS), hf.ModernBertForTokenClassification),
    "modernbert-spans": (hf.ModernBertConfig(**MODERNBERT), hf.ModernBertForQuestionAnswering),
    "nomic_bert-masked": (hf.NomicBertConfig(**SIZES), hf.NomicBertForMaskedLM),
    "nomic_bert-classes": (
        hf.NomicBertConfig(**SIZES, **LABELS, hidden_act="gelu"),
        hf.NomicBertForSequenceClassification,
    ),
    "nomic_bert-tokens": (
        hf.NomicBertConfig(**SIZES, **LABELS, type_vocab_size=3, head_dim=16),
        hf.NomicBertForTokenClassification,
    ),
    "nomic_bert-states": (hf.NomicBertConfig(**SIZES, **_rope("default")), hf.NomicBertModel),
    "modernbert-states": (
        hf.ModernBertConfig(**(MODERNBERT | {"layer_types": ["sliding_attention"] * 2 + ["full_attention"]})),
        hf.ModernBertModel,
    ),
    "deberta-masked": (hf.DebertaConfig(**(DEBERTA | {"pos_att_type": "c2p|p2c"})), hf.DebertaForMaskedLM),
    "deberta-classes": (
        hf.DebertaConfig(**(DEBERTA | {"pos_att_type": ["p2c"], "type_vocab_size": 2}), **LABELS),
        hf.DebertaForSequenceClassification,
    ),
    "deberta-tokens": (
        hf.DebertaConfig(**(DEBERTA | {"relative_attention": False}), **LABELS),
        hf.DebertaForTokenClassification,
    ),
    "deberta-spans": (
        hf.DebertaConfig(**(DEBERTA | {"pos_att_type": ["c2p"], "position_biased_input": False})),
        hf.DebertaForQuestionAnswering,
    ),
    "deberta-states": (hf.DebertaConfig(**(DEBERTA | {"max_relative_positions": 6})), hf.DebertaModel),
    "deberta-v2-masked": (hf.DebertaV2Config(**DEBERTA3), hf.DebertaV2ForMaskedLM),
    "deberta-v2-own-head": (hf.DebertaV2Config(**DEBERTA3, legacy=False), hf.DebertaV2ForMaskedLM),
    "deberta-v2-classes": (
        hf.DebertaV2Config(**DEBERTA3, **LABELS, pooler_hidden_act="tanh"),
        hf.DebertaV2ForSequenceClassification,
    ),
    "deberta-v2-tokens": (
        hf.DebertaV2Config(**(DEBERTA3 | {"share_att_key": False}), **LABELS),
        hf.DebertaV2ForTokenClassification,
    ),
    "deberta-v2-spans": (hf.DebertaV2Config(**(DEBERTA3 | {"position_buckets": -1})), hf.DebertaV2ForQuestionAnswering),
    "deberta-v2-states": (hf.DebertaV2Config(**(DEBERTA3 | {"norm_rel_ebd": "none"})), hf.DebertaV2Model),
    "electra-generator": (hf.ElectraConfig(**SIZES, embedding_size=32), hf.ElectraForMaskedLM),
    "electra-discriminator": (hf.ElectraConfig(**SIZES), hf.ElectraForPreTraining),
    "electra-classes": (hf.ElectraConfig(**SIZES, **LABELS, embedding_size=64), hf.ElectraForSequenceClassification),
    "electra-tokens": (hf.ElectraConfig(**SIZES, **LABELS, embedding_size=32), hf.ElectraForTokenClassification),
    "electra-spans": (hf.ElectraConfig(**SIZES, embedding_size=32), hf.ElectraForQuestionAnswering),
    "electra-states": (hf.ElectraConfig(**SIZES, embedding_size=32), hf.ElectraModel),
}
"""Encoders, each with a head of the family."""

T5 = {"d_model": 64, "d_kv": 8, "d_ff": 96, "num_layers": 2, "num_heads": 4, "vocab_size": 99, "pad_token_id": 0}
T5 |= {"eos_token_id": 2, "decoder_start_token_id": 0, "relative_attention_num_buckets": 8}
T5 |= {"relative_attention_max_distance": 20, "n_positions": 128}

BART = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "vocab_size": 99}
BART |= {"decoder_attention_heads": 8, "encoder_ffn_dim": 96, "decoder_ffn_dim": 80, "max_position_embeddings": 128}
BART |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 2}
BART |= {"forced_eos_token_id": None}

SEQ2SEQ: dict[str, hf.PretrainedConfig] = {
    "t5": hf.T5Config(**T5),
    "t5-gated": hf.T5Config(**T5, feed_forward_proj="gated-gelu", num_decoder_layers=3, tie_word_embeddings=False),
    "t5-untied": hf.T5Config(**T5, feed_forward_proj="gated-silu", tie_word_embeddings=False),
    "mt5": hf.MT5Config(**T5),
    "mt5-untied": hf.MT5Config(**T5, feed_forward_proj="relu"),
    "umt5": hf.UMT5Config(**T5, num_decoder_layers=3),
    "umt5-untied": hf.UMT5Config(**T5, tie_word_embeddings=False),
    "bart": hf.BartConfig(**BART),
    "bart-scaled": hf.BartConfig(**BART, scale_embedding=True, activation_function="relu"),
    "mbart": hf.MBartConfig(**BART, scale_embedding=True),
    "pegasus": hf.PegasusConfig(**BART, scale_embedding=True, activation_function="relu"),
    "marian": hf.MarianConfig(**BART, scale_embedding=True, activation_function="swish"),
    "marian-two-vocabularies": hf.MarianConfig(
        **(BART | {"vocab_size": 120}), share_encoder_decoder_embeddings=False, decoder_vocab_size=99
    ),
    "m2m_100": hf.M2M100Config(**(BART | {"pad_token_id": 1, "bos_token_id": 0})),
}
"""Encoder–decoders."""


def reference(name: str) -> hf.PreTrainedModel:
    """The reference model, in evaluation mode, with eager attention so that it can show its weights."""
    torch.manual_seed(0)
    if name in ENCODERS:
        config, kind = ENCODERS[name]
        model = kind._from_config(config, attn_implementation="eager").eval()
    elif name in SEQ2SEQ:
        model = hf.AutoModelForSeq2SeqLM.from_config(SEQ2SEQ[name], attn_implementation="eager").eval()
    else:
        model = hf.AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="eager").eval()
    if name.endswith("-untied"):  # which the reference finds out from a file; a new model of its has them tied
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        model.config.tie_word_embeddings = False
    # By matrices whose mean is not zero, and small gains, many an encoder's tokens would all come out alike.
    distinct = name in ENCODERS and not name.startswith("bert")
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.requires_grad:  # sinusoids are as they are
                continue
            drawn = torch.randn_like(parameter) * 0.3
            if distinct:
                parameter.copy_(drawn if parameter.dim() > 1 else 2 * drawn + 0.3)
            else:
                parameter.copy_(drawn + 0.1)
        for place, buffer in model.named_buffers():
            if place.endswith("e_score_correction_bias"):
                buffer.copy_(torch.randn_like(buffer) * 0.3)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias) * 0.3)
    return model


def saved(name: str, folder: Path, **options: object) -> hf.PreTrainedModel:
    """The reference model, written to `folder` as transformers writes it, with a tokenizer of its vocabulary size."""
    model = reference(name)
    model.save_pretrained(folder, **options)
    write_tokenizer(folder)
    return model


def write_tokenizer(folder: Path, vocab: int = 99) -> None:
    """A word-level tokenizer over w0, w1, … with the special tokens <pad>, <s> and </s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(3, vocab))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w3"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)


def write_marked_tokenizer(folder: Path) -> None:
    """A word-level tokenizer of 99 words that puts <s> and </s> around a text and knows a mask, [MASK]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(3, 98)), "[MASK]"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w3"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", mask_token="[MASK]"
    ).save_pretrained(folder)
