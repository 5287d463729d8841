"""Captioning and language models of the real classes, tiny and with random weights, for tests of prompt strategies.

What they write makes no sense, but differs between pictures whose colours differ, and is the same every time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipConfig,
    BlipForConditionalGeneration,
    GitConfig,
    GitForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

Kind = Literal["blip", "blip-2", "git", "vision-encoder-decoder", "llava"]

SIDE = 32
"""Of an image as the models take it, pixels."""
WORDS = (
    "a dog cat man woman tree house car boat river field sky mountain road bridge red green blue white black small "
    "large old bright dark sitting standing running near under above with two three grass water snow sand stone photo "
    "of picture"
)
"""All words that they know, and so all that they can say."""

_WIDTH = 16
_LAYERS: dict[str, Any] = {
    "hidden_size": _WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}

_LLAVA_PROCESSOR = """{"processor_class": "LlavaProcessor", "patch_size": 8, "num_additional_image_tokens": 1,
 "vision_feature_select_strategy": "default"}
"""


def save_captioner(folder: Path, kind: Kind = "blip", *, seed: int = 0, words: str = WORDS) -> Path:
    """Write a model that captions, with its tokenizer and image processor, to `folder`, and return it.

    seed: of the weights; torch's global random state is left as it was. words: its vocabulary.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, tokenizer, processor = {
            "blip": _blip,
            "blip-2": _blip2,
            "git": _git,
            "vision-encoder-decoder": _encoder_decoder,
            "llava": _llava,
        }[kind](words.split())
        _loud(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kind == "llava":
        (folder / "processor_config.json").write_text(_LLAVA_PROCESSOR)
    (folder / "preprocessor_config.json").write_text(
        f'{{"image_processor_type": "{processor}", "size": {{"height": {SIDE}, "width": {SIDE}}}, '
        f'"crop_size": {{"height": {SIDE}, "width": {SIDE}}}}}\n'
    )
    return folder


def save_writer(folder: Path, *, seed: int = 0, words: str = WORDS, chat: bool = False) -> Path:
    """Write a causal language model (GPT-2's architecture) with its tokenizer to `folder`, and return it.

    chat: whether it has a chat template. seed, words: as for `save_captioner`.
    """
    tokenizer = _word_tokenizer(words.split(), "<|end|>", bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>")
    if chat:
        tokenizer.chat_template = "{% for message in messages %}a photo of {{ message['content'] }}{% endfor %}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_embd=_WIDTH,
                n_layer=2,
                n_head=2,
                n_positions=128,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _blip(words: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    tokenizer = _bert_tokenizer(words)
    text = {
        **_LAYERS,
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": _WIDTH,
        "projection_dim": _WIDTH,
        "max_position_embeddings": 64,
        "bos_token_id": tokenizer.cls_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    config = BlipConfig(text_config=text, vision_config=_vision(), projection_dim=_WIDTH, image_text_hidden_size=_WIDTH)
    return BlipForConditionalGeneration(config), tokenizer, "BlipImageProcessor"


def _blip2(words: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    tokenizer = _word_tokenizer(words, "<unk>", bos_token="</s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    config = Blip2Config(
        vision_config=_vision(),
        qformer_config={**_LAYERS, "vocab_size": len(tokenizer), "encoder_hidden_size": _WIDTH},
        text_config={
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "hidden_size": _WIDTH,
            "ffn_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "word_embed_proj_dim": _WIDTH,
            "max_position_embeddings": 64,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        num_query_tokens=4,
        image_token_index=len(tokenizer) - 1,
    )
    return Blip2ForConditionalGeneration(config), tokenizer, "BlipImageProcessor"


def _git(words: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    tokenizer = _bert_tokenizer(words)
    config = GitConfig(
        vision_config=_vision(),
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_LAYERS,
    )
    return GitForCausalLM(config), tokenizer, "CLIPImageProcessor"


def _encoder_decoder(words: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    tokenizer = _word_tokenizer(words, "<|end|>", bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>")
    end = tokenizer.eos_token_id
    decoder = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=_WIDTH,
        n_layer=2,
        n_head=2,
        n_positions=64,
        add_cross_attention=True,
        bos_token_id=end,
        eos_token_id=end,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**_vision()), decoder, decoder_start_token_id=end, pad_token_id=end, eos_token_id=end
    )
    model = VisionEncoderDecoderModel(config=config)
    if model.generation_config is not None:
        model.generation_config.min_new_tokens = 3  # left to itself it ends at once
    return model, tokenizer, "ViTImageProcessor"


def _llava(words: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """A model that is asked rather than prompted: it has a chat template."""
    tokenizer = _word_tokenizer(words, "<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{{ '<image> ' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endfor %}"
    )
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **_vision()},
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 128,
            "num_key_value_heads": 2,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **_LAYERS,
        },
        image_token_index=len(tokenizer) - 1,
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config), tokenizer, "CLIPImageProcessor"


def _vision() -> dict[str, Any]:
    # BLIP's own default for the last is next to 0: every picture would look the same
    return {**_LAYERS, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.02}


def _loud(model: PreTrainedModel) -> None:
    """Scale the weights up, without which every picture leads to the same words."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
            if "crossattention" in name or "patch_embedding" in name:
                parameter.mul_(8)


def _bert_tokenizer(words: list[str]) -> PreTrainedTokenizerBase:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    return BertTokenizer(vocab={token: index for index, token in enumerate(tokens)})


def _word_tokenizer(words: list[str], unknown: str, **special: str) -> PreTrainedTokenizerFast:
    tokens = list(dict.fromkeys([unknown, *special.values(), *words]))
    tokenizer = Tokenizer(
        tokenizer_models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=unknown)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast  # untyped
    return cast(PreTrainedTokenizerFast, fast(tokenizer_object=tokenizer, unk_token=unknown, **special))


__all__ = ["SIDE", "WORDS", "Kind", "save_captioner", "save_writer"]
