"""Families of transformers' models, each tiny and with random weights: how to make one, and what it takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import torch
from torch import Tensor, nn

WORDS = 100


@dataclass(frozen=True)
class Family:
    """A family of models.

    Parameters
    ----------
    kind : str
        Of the configuration.
    model : str
        The class, or one of the automatic classes.
    options : dict
        Of the configuration.
    takes : callable
        Makes inputs.
    key : str
        The part of the output that is explained.
    dtype : torch.dtype
        The precision; experts' grouped products are none of double precision.
    """

    kind: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    takes: Callable[[], dict[str, Tensor]] = field(default=lambda: masked())
    key: str = "logits"
    dtype: torch.dtype = torch.float64

    def inputs(self) -> dict[str, Tensor]:
        """Make inputs in the precision of the model."""
        return {name: x.to(self.dtype) if x.is_floating_point() else x for name, x in self.takes().items()}


def ids(length: int = 7) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(5, WORDS, (2, length))}


def masked() -> dict[str, Tensor]:
    given = ids()
    mask = torch.ones_like(given["input_ids"])
    mask[1, :2] = 0
    return {**given, "attention_mask": mask}


def unmasked() -> dict[str, Tensor]:
    given = ids()
    return {**given, "attention_mask": torch.ones_like(given["input_ids"])}


def translated() -> dict[str, Tensor]:
    given = masked()
    return {**given, "decoder_input_ids": given["input_ids"][:, :5].clone()}


def image(size: int = 32) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 3, size, size, dtype=torch.float64)}


def video() -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)}


def audio() -> dict[str, Tensor]:
    return {"input_values": torch.randn(2, 400, dtype=torch.float64)}


def spectrogram() -> dict[str, Tensor]:
    return {"input_values": torch.randn(2, 32, 16, dtype=torch.float64)}


def speech() -> dict[str, Tensor]:
    features = torch.randn(2, 8, 20, dtype=torch.float64)
    return {"input_features": features, "decoder_input_ids": torch.randint(5, WORDS, (2, 5))}


def pictured() -> dict[str, Tensor]:
    return {**unmasked(), **image()}


LANGUAGE, CLASSIFIER, TRANSLATOR = "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoModelForSeq2SeqLM"
MASKED, PICTURES, SOUNDS = "AutoModelForMaskedLM", "AutoModelForImageClassification", "AutoModelForAudioClassification"

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {**SIZES, "vocab_size": WORDS, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 2}
PADDED = {**TEXT, "pad_token_id": 0}
GROUPED = {**PADDED, "num_key_value_heads": 2}
IMAGE = {**SIZES, "image_size": 32, "patch_size": 8}
ENCODER_DECODER = {
    **{"vocab_size": WORDS, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
    **{"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2},
}
WAVES = {
    **SIZES,
    **{"conv_dim": (16, 16), "conv_kernel": (5, 3), "conv_stride": (3, 2), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": WORDS},
}
SMALL_T5 = {
    **{"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "num_layers": 2, "num_heads": 4, "d_ff": 48},
    "decoder_start_token_id": 0,
}
EXPERTS = {**GROUPED, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
GPT = {
    "vocab_size": WORDS,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
HEADS8 = {**GROUPED, "head_dim": 8}

FAMILIES: Final[dict[str, Family]] = {
    "bert": Family("bert", CLASSIFIER, TEXT),
    "roberta": Family("roberta", CLASSIFIER, {**TEXT, "pad_token_id": 1}),
    "distilbert": Family(
        "distilbert",
        CLASSIFIER,
        {"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64},
    ),
    "gpt2": Family("gpt2", LANGUAGE, GPT),
    "llama": Family("llama", LANGUAGE, GROUPED),
    "qwen3": Family("qwen3", LANGUAGE, HEADS8),
    "qwen3_moe": Family("qwen3_moe", LANGUAGE, {**EXPERTS, "head_dim": 8, "num_experts": 4}, dtype=torch.float32),
    "mixtral": Family("mixtral", LANGUAGE, {**EXPERTS, "num_local_experts": 4}, dtype=torch.float32),
    "gemma3_text": Family("gemma3_text", LANGUAGE, {**HEADS8, "sliding_window": 4}),
    "phi3": Family("phi3", LANGUAGE, GROUPED),
    "t5": Family("t5", TRANSLATOR, SMALL_T5, translated),
    "bart": Family("bart", TRANSLATOR, ENCODER_DECODER, translated),
    "vit": Family("vit", PICTURES, IMAGE, image),
    "deit": Family("deit", "DeiTForImageClassification", IMAGE, image),
    "swin": Family(
        "swin",
        PICTURES,
        {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 32, "patch_size": 4},
        image,
    ),
    "clip vision": Family(
        "clip_vision_model", "CLIPVisionModelWithProjection", {**IMAGE, "projection_dim": 8}, image, "image_embeds"
    ),
    "wav2vec2": Family("wav2vec2", SOUNDS, WAVES, audio),
    "mamba": Family(
        "mamba",
        LANGUAGE,
        {"vocab_size": WORDS, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "time_step_rank": 4},
        ids,
    ),
    "albert": Family("albert", CLASSIFIER, {**TEXT, "embedding_size": 16}),
    "deberta-v2": Family(
        "deberta-v2",
        CLASSIFIER,
        {
            **TEXT,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 4,
            "share_att_key": True,
        },
    ),
    "fnet": Family("fnet", CLASSIFIER, TEXT, ids),
    "roformer": Family("roformer", CLASSIFIER, TEXT),
    "modernbert": Family(
        "modernbert", CLASSIFIER, {**PADDED, "cls_token_id": 0, "sep_token_id": 2, "local_attention": 4}
    ),
    "opt": Family("opt", LANGUAGE, {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": 1}),
    "gptj": Family("gptj", LANGUAGE, {**GPT, "rotary_dim": 4}),
    "falcon": Family("falcon", LANGUAGE, TEXT),
    "deepseek_v3": Family(
        "deepseek_v3",
        LANGUAGE,
        {
            **PADDED,
            **{
                "n_routed_experts": 4,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 24,
                "n_group": 2,
                "topk_group": 1,
            },
            **{"q_lora_rank": 16, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8},
            **{"first_k_dense_replace": 1, "num_key_value_heads": 4, "n_shared_experts": 1},
        },
        dtype=torch.float32,
    ),
    "gpt_oss": Family(
        "gpt_oss",
        LANGUAGE,
        {**HEADS8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4},
        dtype=torch.float32,
    ),
    "llama4_text": Family(
        "llama4_text",
        LANGUAGE,
        {**HEADS8, "num_local_experts": 4, "intermediate_size_mlp": 48, "attention_chunk_size": 8},
    ),
    "mamba2": Family(
        "mamba2",
        LANGUAGE,
        {
            **{"vocab_size": WORDS, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "n_groups": 2},
            **{"num_heads": 8, "head_dim": 8, "chunk_size": 4, "pad_token_id": 0},
        },
        ids,
        dtype=torch.float32,
    ),
    "recurrent_gemma": Family(
        "recurrent_gemma",
        LANGUAGE,
        {**GROUPED, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 4},
        ids,
    ),
    "m2m_100": Family("m2m_100", TRANSLATOR, ENCODER_DECODER, translated),
    "whisper": Family(
        "whisper",
        "WhisperForConditionalGeneration",
        {**ENCODER_DECODER, "num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 16},
        speech,
    ),
    "hubert": Family("hubert", SOUNDS, WAVES, audio),
    "beit": Family("beit", PICTURES, {**IMAGE, "use_relative_position_bias": True}, image),
    "segformer": Family(
        "segformer",
        "SegformerForSemanticSegmentation",
        {
            **{"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]},
            **{"decoder_hidden_size": 16, "num_labels": 3},
        },
        image,
    ),
    "poolformer": Family("poolformer", PICTURES, {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}, image),
    "swinv2": Family(
        "swinv2",
        PICTURES,
        {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 32, "patch_size": 4},
        image,
    ),
    "clip": Family(
        "clip",
        "CLIPModel",
        {"text_config": {**PADDED}, "vision_config": IMAGE, "projection_dim": 16},
        pictured,
        "logits_per_image",
    ),
    "detr": Family(
        "detr",
        "DetrForObjectDetection",
        {
            **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "num_labels": 3},
            **{"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_queries": 5},
            **{"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None},
            "backbone_config": {
                **{"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
                "out_features": ["stage4"],
            },
        },
        image,
    ),
    "timesformer": Family("timesformer", "TimesformerForVideoClassification", {**IMAGE, "num_frames": 4}, video),
    "patchtst": Family(
        "patchtst",
        "PatchTSTForPrediction",
        {
            **{
                "num_input_channels": 2,
                "context_length": 16,
                "patch_length": 4,
                "patch_stride": 4,
                "prediction_length": 3,
            },
            **{"d_model": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "ffn_dim": 24, "loss": "mse"},
        },
        lambda: {"past_values": torch.randn(2, 16, 2, dtype=torch.float64)},
        "prediction_outputs",
    ),
}


def made(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """Make a model of a family with random weights, and inputs for it.

    Parameters
    ----------
    name : str
        One of :data:`FAMILIES`.

    Returns
    -------
    tuple
        The model in evaluation mode, and its arguments by name.
    """
    transformers: Any = import_module("transformers")
    of = FAMILIES[name]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(of.kind, **of.options)
    family: Any = getattr(transformers, of.model)
    model = family.from_config(config) if of.model.startswith("Auto") else family(config)
    for parameter in model.parameters():  # norms that only centre would have gradients that cancel over features
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval().to(of.dtype), of.inputs()
