# SPDX-License-Identifier: Apache-2.0
"""SGLang: --load-format libstreamer. SGLang finds register() by its entry point."""
import functools
import logging
import os
from typing import Any, Iterator, Tuple

import torch

from . import engine_weights
from .engine_weights import LOAD_FORMAT, Options, Weights, is_uri, sharing_group
from .mixed_packages import warn_of_mixed_packages

logger = logging.getLogger("sglang.srt.libstreamer")


def register() -> None:
    """Adds the load format to SGLang. Called in each of its processes."""
    from sglang.srt.arg_groups import choices
    from sglang.srt.arg_groups.resolution_hooks import register_resolution_hook
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType
    warn_of_mixed_packages(logger)
    if LOAD_FORMAT not in choices.LOAD_FORMAT_CHOICES:
        choices.add_load_format_choices([LOAD_FORMAT])
    # SGLang's formats are an enumeration, but a class that loads is a format too.
    HookRegistry.register("sglang.srt.configs.load_config.LoadConfig._verify_load_format",
                          _accept_our_format, HookType.AROUND)
    register_resolution_hook("handle_model_source_paths")(_prepare_models)


def _accept_our_format(original, load_config):
    if str(load_config.load_format).lower() == LOAD_FORMAT:
        load_config.load_format = loader_class()
    else:
        original(load_config)


def _prepare_models(server_args, previous):
    """SGLang loads every model in a store by another format. So it is given a folder with the model's
    small files, and the loader the model's URI."""
    from sglang.srt.arg_groups.overrides import declare_resolution, resolving_view
    args = resolving_view(server_args)
    if str(args.load_format).lower() != LOAD_FORMAT:
        previous(server_args)
        return
    model, tokenizer, extra = args.model_path, args.tokenizer_path, args.model_loader_extra_config
    found = engine_weights.prepare(model, extra, args.tp_size or 1)
    changed = {}
    if found is not None:
        changed.update(model_path=found.folder, model_loader_extra_config=found.json(),
                       served_model_name=args.served_model_name or model)
    if is_uri(tokenizer) and (found is None or tokenizer != model):
        changed["tokenizer_path"] = engine_weights.snapshot(tokenizer, Options.of(extra))
    elif found is not None and tokenizer in (None, model):
        changed["tokenizer_path"] = found.folder
    if changed:
        declare_resolution(server_args, "libstreamer", **changed)
    previous(server_args)


@functools.lru_cache(maxsize=None)
def loader_class() -> Any:
    """The class that SGLang makes its loader of."""
    from sglang.srt.model_loader import weight_utils
    from sglang.srt.model_loader.loader import BaseModelLoader, DefaultModelLoader

    class LibstreamerLoader(DefaultModelLoader):
        """Loads safetensors through libstreamer."""

        def __init__(self, load_config: Any) -> None:
            BaseModelLoader.__init__(self, load_config)
            self.options = Options.of(load_config.model_loader_extra_config)
            self._is_first_load = False

        def download_model(self, model_config: Any) -> None:
            self._uri_of(model_config.model_path, model_config.revision)

        def _uri_of(self, path, revision) -> str:
            uri = self.options.source or path
            if is_uri(uri) or os.path.exists(uri):
                return uri
            return weight_utils.download_weights_from_hf(
                uri, self.load_config.download_dir, ["*.safetensors", "*.safetensors.index.json"],
                revision, ignore_patterns=self.load_config.ignore_patterns)

        def _weights(self, uri: str) -> Weights:
            rank, group = None, None
            if self.options.pattern is None:
                group = self._group(uri)
            else:
                from sglang.srt import distributed
                rank = distributed.get_tensor_model_parallel_rank()
            return Weights.open(uri, self.options, rank=rank, group=group, logger=logger,
                                bar=self._bar)

        def _group(self, uri):
            from sglang.srt.distributed import parallel_state
            return sharing_group(self.options, uri,
                                 lambda: parallel_state.get_world_group().cpu_group)

        def _bar(self, total: int) -> Any:
            dist = torch.distributed
            return weight_utils.tqdm(
                total=total, desc="Loading safetensors using libstreamer", mininterval=2,
                bar_format=getattr(weight_utils, "BAR_FORMAT", None),
                disable=dist.is_initialized() and dist.get_rank() != 0)

        def _get_weights_iterator(self, source: Any) -> Iterator[Tuple[str, torch.Tensor]]:
            """Also what SGLang updates weights from."""
            weights = self._weights(self._uri_of(source.model_or_path, source.revision))
            return self._named(source.prefix, weights.stream())

        def _named(self, prefix, tensors):
            if self.load_config.draft_model_idx is not None:
                return self._filter_mtp_weights(tensors, prefix, self.load_config.draft_model_idx)
            return ((prefix + name, tensor) for name, tensor in tensors)

        def load_model(self, *, model_config: Any, device_config: Any) -> torch.nn.Module:
            self._is_first_load = self.options.pattern is None and self.options.direct
            return super().load_model(model_config=model_config, device_config=device_config)

        def _get_all_weights(self, model_config: Any, model: torch.nn.Module) -> Any:
            # Quantization while loading looks at each weight as it comes.
            if not self._is_first_load or getattr(model, "quant_config", None) is not None or \
                    getattr(model, "secondary_weights", ()):
                return super()._get_all_weights(model_config, model)
            source = DefaultModelLoader.Source.init_new(model_config, model)
            return self._weights(self._uri_of(source.model_or_path, source.revision))

        def load_weights_and_postprocess(self, model: torch.nn.Module, weights: Any,
                                         target_device: Any) -> None:
            """weights: an iterator, or Weights, which land where model code copies them."""
            self._is_first_load = False
            if isinstance(weights, Weights):
                weights.direct(lambda tensors: self.load_weights_only(
                    model, self._named("", tensors), target_device))
            else:
                self.load_weights_only(model, weights, target_device)
            self.postprocess_weights(model, target_device)

    return LibstreamerLoader


__all__ = ["loader_class", "register"]
