// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of Hugging Face compatible hubs.

#include "base/setting.hpp"

namespace streamer::core::setting {

inline constexpr Setting kHfCacheFolder{
    RowOf<Scope::store>{
        .name = "hf_cache_folder",
        .meaning = "The cache of the hub's own client (models--ORGANISATION--MODEL/...): files "
                   "that it has of a commit are read from there. It is never written to. auto is "
                   "HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, or else "
                   "~/.cache/huggingface/hub; off is none."},
    Text("a path")};

inline constexpr Setting kHfEndpoint{
    RowOf<Scope::store>{.name = "hf_endpoint",
                        .meaning = "The hub that hf:// URIs are read from, such as a mirror. auto "
                                   "is HF_ENDPOINT, or else https://huggingface.co. off, and "
                                   "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE in the "
                                   "environment whatever this says: hf_cache_folder alone is "
                                   "read, without a request."},
    Text("a URL")};

inline constexpr Setting kHfToken{
    RowOf<Scope::store>{
        .name = "hf_token",
        .meaning = "The access token for the hub. auto is HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the "
                   "file that HF_TOKEN_PATH names, or else the one that the hub's command wrote "
                   "(HF_HOME/token); off is none. Sent to the hub's host and to no other, and only "
                   "over https or to this machine. Never logged.",
        .is_credential = true},
    SecretText("a token")};

}  // namespace streamer::core::setting

namespace streamer::core::inline storage {

inline constexpr const SettingRow* kHfSettings[] = {&setting::kHfCacheFolder, &setting::kHfEndpoint,
                                                    &setting::kHfToken};

}  // namespace streamer::core::inline storage
