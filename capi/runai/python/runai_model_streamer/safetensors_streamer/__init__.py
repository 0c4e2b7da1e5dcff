# SPDX-License-Identifier: Apache-2.0
from runai_model_streamer.safetensors_streamer.safetensors_streamer import SafetensorsStreamer

__all__ = ["SafetensorsStreamer"]
