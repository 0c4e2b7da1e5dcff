#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models with a tokenizer, in several shards: make_models.py FOLDER [NAME...]"""
import glob
import json
import os
import sys

import safetensors.torch
import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SMALL = {"vocab_size": 512, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
         "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 256}
# Of the ways in which model code takes tensors: packed parameters, tied and padded embeddings, experts,
# transposed weights, weights that are packed as they are stored, quantized ones with their scales.
MODELS = {
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, SMALL),
    "llama-tied": (hf.LlamaForCausalLM, hf.LlamaConfig, {**SMALL, "tie_word_embeddings": True}),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config, SMALL),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config, {**SMALL, "head_dim": 32}),
    "qwen3-moe": (hf.Qwen3MoeForCausalLM, hf.Qwen3MoeConfig,
                  {**SMALL, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2,
                   "moe_intermediate_size": 256}),
    "mistral": (hf.MistralForCausalLM, hf.MistralConfig, {**SMALL, "sliding_window": None}),
    "mixtral": (hf.MixtralForCausalLM, hf.MixtralConfig, {**SMALL, "num_local_experts": 4}),
    "phi3": (hf.Phi3ForCausalLM, hf.Phi3Config, {**SMALL, "pad_token_id": 0}),
    "gemma": (hf.GemmaForCausalLM, hf.GemmaConfig, {**SMALL, "head_dim": 32}),
    "gemma2": (hf.Gemma2ForCausalLM, hf.Gemma2Config, {**SMALL, "head_dim": 32}),
    "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config,
             {"vocab_size": 512, "n_embd": 256, "n_layer": 3, "n_head": 8, "n_positions": 256}),
    "opt": (hf.OPTForCausalLM, hf.OPTConfig,
            {"vocab_size": 512, "hidden_size": 256, "ffn_dim": 512, "num_hidden_layers": 3,
             "num_attention_heads": 8, "max_position_embeddings": 256, "word_embed_proj_dim": 256}),
    "llama-int8": (hf.LlamaForCausalLM, hf.LlamaConfig, SMALL),
}
# As compressed-tensors has it: int8, a scale for each row, activations quantized as they come.
INT8 = {"quant_method": "compressed-tensors", "format": "int-quantized",
        "quantization_status": "compressed", "ignore": ["lm_head"],
        "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel",
                        "dynamic": False},
            "input_activations": {"num_bits": 8, "type": "int", "symmetric": True,
                                  "strategy": "token", "dynamic": True}}}}


def save_tokenizer(folder):
    """One token for each byte."""
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>",
                               eos_token="</s>").save_pretrained(folder)


def make(folder, name, seed=1, shard_size="1MB", **more):
    model_class, config_class, options = MODELS[name]
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.bfloat16)
    model = model_class(config_class(**{**options, **more}, bos_token_id=256, eos_token_id=257))
    # Freshly made weights are so small that every prompt would give the same tokens.
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise * 0.08 if parameter.dim() > 1 else parameter + 0.1 * noise)
    model.save_pretrained(folder, max_shard_size=shard_size)
    save_tokenizer(folder)
    if name == "llama-int8":
        quantize(folder)


def quantize(folder):
    """Makes the linear layers of a saved model int8."""
    index = os.path.join(folder, "model.safetensors.index.json")
    with open(index, encoding="utf-8") as file:
        content = json.load(file)
    for shard in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        made = {}
        for name, tensor in safetensors.torch.load_file(shard).items():
            if name.endswith("_proj.weight"):
                scale = tensor.float().abs().amax(dim=1, keepdim=True) / 127
                made[name + "_scale"] = scale
                content["weight_map"][name + "_scale"] = os.path.basename(shard)
                tensor = (tensor.float() / scale).round().to(torch.int8)
            made[name] = tensor
        safetensors.torch.save_file(made, shard, {"format": "pt"})
    with open(index, "w", encoding="utf-8") as file:
        json.dump(content, file)
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**config, "quantization_config": INT8}, file)


def main():
    for name in sys.argv[2:] or MODELS:
        make(os.path.join(sys.argv[1], name), name)


if __name__ == "__main__":
    main()
