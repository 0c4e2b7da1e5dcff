// SPDX-License-Identifier: Apache-2.0
#pragma once
// Settings of opening a checkpoint.

#include "base/settings.hpp"
#include "checkpoint/checkpoint.hpp"

namespace streamer::core::setting {

inline constexpr Setting kHeaderRules{
    RowOf<Scope::checkpoint>{
        .name = "debug.header_rules",
        .default_text = "strict",
        .meaning = "How safetensors headers are read. lenient: if a name appears twice, the last "
                   "one counts; __metadata__ may contain anything; bytes may follow the last "
                   "tensor; a header may have 100 MiB."},
    Choice<HeaderRules, 2>({{"strict", HeaderRules::strict}, {"lenient", HeaderRules::lenient}})};

inline constexpr Setting kSameNames{
    RowOf<Scope::checkpoint>{
        .name = "same_names",
        .default_text = "refuse",
        .meaning = "What happens if several files of a checkpoint have a tensor of the same name: "
                   "an error, or all of them are kept, and the name refers to the first."},
    Choice<SameNames, 2>({{"refuse", SameNames::refuse}, {"keep", SameNames::keep}})};

}  // namespace streamer::core::setting

namespace streamer::core::inline checkpoint {

inline constexpr const SettingRow* kCheckpointSettings[] = {&setting::kHeaderRules,
                                                            &setting::kSameNames};

inline Result<OpenRules> read_open_rules(const Settings& settings) {
  const auto read = TRY(settings.read<Scope::checkpoint>(kCheckpointSettings));
  return OpenRules{read.get(setting::kSameNames), read.get(setting::kHeaderRules)};
}

}  // namespace streamer::core::inline checkpoint
