# SPDX-License-Identifier: Apache-2.0
"""vLLM: --load-format libstreamer. vLLM finds register() by its entry point."""
import functools
import weakref
from typing import Any, Iterator, Optional, Tuple

import torch

from . import engine_weights
from .checkpoint import Checkpoint
from .engine_weights import LOAD_FORMAT, Options, Weights, is_uri, sharing_group
from .errors import InvalidArgumentError
from .mixed_packages import warn_of_mixed_packages

# By model: what it was loaded from, for reload_weights().
_loaded: "weakref.WeakKeyDictionary[torch.nn.Module, Tuple[str, Checkpoint]]" = \
    weakref.WeakKeyDictionary()


def register() -> None:
    """Adds the load format to vLLM. Called in each of its processes."""
    from vllm.logger import init_logger
    from vllm.model_executor import model_loader
    if LOAD_FORMAT in getattr(model_loader, "_LOAD_FORMAT_TO_MODEL_LOADER", {}):
        return
    warn_of_mixed_packages(init_logger("vllm.libstreamer"))
    model_loader.register_model_loader(LOAD_FORMAT)(_loader_class())
    _prepare_models()


def _prepare_models():
    """vLLM accepts models in stores for the load formats that it knows, and pulls their small files by
    a package for those. So it is given a folder with these files, and the loader the model's URI."""
    from vllm.engine.arg_utils import EngineArgs
    for name in ("create_engine_config", "create_model_config"):
        setattr(EngineArgs, name, _prepared(getattr(EngineArgs, name)))


def _prepared(method):
    @functools.wraps(method)
    def prepared(self, *arguments, **options):
        if str(self.load_format).lower() == LOAD_FORMAT and not getattr(self, "_prepared", False):
            _prepare(self)
            self._prepared = True
        return method(self, *arguments, **options)
    return prepared


def _prepare(args):
    if is_uri(args.tokenizer) and args.tokenizer != args.model:
        options = Options.of(args.model_loader_extra_config)
        args.tokenizer = engine_weights.snapshot(args.tokenizer, options)
    found = engine_weights.prepare(args.model, args.model_loader_extra_config,
                                   getattr(args, "tensor_parallel_size", 1) or 1)
    if found is None:
        return
    args.served_model_name = args.served_model_name or args.model
    if args.tokenizer == args.model:
        args.tokenizer = found.folder
    args.model, args.model_loader_extra_config = found.folder, found.extra


@functools.lru_cache(maxsize=None)
def _loader_class():
    from vllm.logger import init_logger
    from vllm.model_executor.model_loader import weight_utils
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
    from vllm.model_executor.model_loader.sharded_state_loader import ShardedStateLoader

    logger = init_logger("vllm.libstreamer")

    class LibstreamerLoader(BaseModelLoader):
        """Loads safetensors through libstreamer."""

        def __init__(self, load_config: Any) -> None:
            super().__init__(load_config)
            self.options = Options.of(load_config.model_loader_extra_config)

        def download_model(self, model_config: Any) -> None:
            self._source(model_config)

        def _source(self, model_config) -> str:
            """Where the weights are: a URI or a local folder."""
            source = self.options.source or getattr(model_config, "model_weights", None) or \
                model_config.model
            if is_uri(source) or _exists(source):
                return source
            return weight_utils.download_weights_from_hf(
                source, self.load_config.download_dir, ["*.safetensors", "*.safetensors.index.json"],
                model_config.revision, ignore_patterns=self.load_config.ignore_patterns)

        def load_weights(self, model: torch.nn.Module, model_config: Any) -> None:
            """All weights, straight into the model's parameters where that is possible."""
            if self.options.pattern is not None:
                self._load_sharded(model, model_config)
                return
            weights = self._weights(model_config)
            # Quantization while loading looks at each weight as it comes.
            if self.options.direct and model_config.quantization is None and \
                    not _is_quantizing(model):
                loaded = weights.direct(model.load_weights)
            else:
                loaded = model.load_weights(weights.stream())
            _loaded[model] = weights.uri, weights.checkpoint
            if model_config.quantization is None and loaded is not None:
                _check_loaded(model, loaded, weights)

        def get_all_weights(self, model_config: Any, model: torch.nn.Module
                            ) -> Iterator[Tuple[str, torch.Tensor]]:
            """For vLLM's reload_weights(): what changed since the model was loaded from the same
            place, or all of it. Blocks of the model come whole."""
            weights = self._weights(model_config)
            uri, old = _loaded.get(model, (None, None))
            # One block's weights may depend on another's if they are quantized, and a model that was
            # asleep may have none.
            if uri != weights.uri or model_config.quantization is not None or \
                    getattr(model_config, "enable_sleep_mode", False):
                old = None
            wanted = None if old is None else engine_weights.changed_blocks(weights.checkpoint, old)
            yield from weights.stream(wanted)
            _loaded[model] = weights.uri, weights.checkpoint

        def _weights(self, model_config, rank: Optional[int] = None, uri: Optional[str] = None):
            uri = uri or self._source(model_config)
            return Weights.open(uri, self.options, rank=rank, logger=logger, bar=self._bar,
                                group=None if rank is not None else self._group(uri))

        def _group(self, uri):
            from vllm.distributed import parallel_state
            return sharing_group(self.options, uri,
                                 lambda: parallel_state.get_world_group().cpu_group)

        def _bar(self, total: int) -> Any:
            return weight_utils.tqdm(
                total=total, desc="Loading safetensors using libstreamer", mininterval=2,
                bar_format=getattr(weight_utils, "_BAR_FORMAT", None),
                disable=not weight_utils.enable_tqdm(self.load_config.use_tqdm_on_load))

        def _load_sharded(self, model, model_config):
            from vllm import distributed
            pattern = self.options.pattern
            rank = distributed.get_tensor_model_parallel_rank()
            if "{pp_rank}" in pattern:
                pattern = pattern.replace("{pp_rank}", str(distributed.get_pp_group().rank_in_group))
            options = self.options._replace(pattern=pattern.replace("{tp_rank}", "{rank}"))
            uri = self._source(model_config)
            weights = Weights.open(uri, options, rank=rank, logger=logger, bar=self._bar)
            state = ShardedStateLoader._filter_subtensors(model.state_dict())

            def take(tensors):
                for name, tensor in tensors:
                    if name not in state:
                        raise InvalidArgumentError(
                            f"{uri}: the sharded state has {name!r}, which the model has not; it is "
                            "of another model, or was saved with other options")
                    target = state.pop(name).data
                    # LoRA pads parameters.
                    for dimension, size in enumerate(tensor.shape):
                        if size < target.shape[dimension]:
                            target = target.narrow(dimension, 0, size)
                    target.copy_(tensor)

            if options.direct:
                weights.direct(take)
            else:
                take(weights.stream())
            _tie(model, model_config, state)
            if state:
                raise InvalidArgumentError(
                    f"{uri}: the sharded state of rank {rank} lacks {len(state)} tensors of the "
                    f"model, the first of them {next(iter(state))!r}")

    def _check_loaded(model, loaded, weights):
        loaded = set(loaded)
        never = sorted(name for name, _ in model.named_parameters() if name not in loaded)
        check = getattr(DefaultModelLoader, "track_weights_loading", None)
        if check is not None:
            try:
                check(None, model, loaded)
            except ValueError as error:
                raise weights.lack_of(never) from error
        if never:
            logger.warning("libstreamer: %d parameters of the model are not in the checkpoint: %s%s",
                           len(never), ", ".join(never[:5]), ", ..." if len(never) > 5 else "")

    return LibstreamerLoader


def _exists(path):
    import os
    return os.path.exists(path)


def _is_quantizing(model):
    return any(getattr(getattr(module, "quant_method", None), "uses_meta_device", False)
               for module in model.modules())


def _tie(model, model_config, state):
    """vLLM saves tied embeddings under one name, the head's; seeing that, it unties them when it makes
    the model again. Removes what is found from state, the parameters that got no bytes."""
    if not getattr(model_config, "word_embeddings_untied_by_checkpoint", False):
        return
    from vllm.model_executor.layers.vocab_parallel_embedding import (ParallelLMHead,
                                                                     VocabParallelEmbedding)
    # By type: GPT-2 calls its embeddings wte.
    found = {f"{name}.weight": module for name, module in model.named_modules()
             if isinstance(module, VocabParallelEmbedding)}
    heads = [module for module in found.values() if isinstance(module, ParallelLMHead)]
    for name in [one for one in state if one in found]:
        if len(heads) == 1 and found[name] is not heads[0] and \
                heads[0].weight.shape == state[name].shape:
            state.pop(name).data.copy_(heads[0].weight.data)


__all__ = ["register"]
