// SPDX-License-Identifier: Apache-2.0
// The STREAMER_*_INIT macros as functions, for languages that have no macros.
#include <algorithm>
#include <cstring>

#include "streamer.h"

namespace {

// A caller of another version may have a struct of another size: fields unknown to the library are
// set to zero.
template <typename Struct>
void init(Struct* made, size_t size, const Struct& defaults) noexcept {
  if (made == nullptr || size < sizeof size) return;
  std::memset(static_cast<void*>(made), 0, size);
  std::memcpy(static_cast<void*>(made), &defaults, std::min(size, sizeof defaults));
  made->struct_size = size;
}

}  // namespace

extern "C" {

void streamer_error_info_init(streamer_error_info* made, size_t size) {
  init(made, size, streamer_error_info STREAMER_ERROR_INFO_INIT);
}
void streamer_credentials_init(streamer_credentials* made, size_t size) {
  init(made, size, streamer_credentials STREAMER_CREDENTIALS_INIT);
}
void streamer_setting_info_init(streamer_setting_info* made, size_t size) {
  init(made, size, streamer_setting_info STREAMER_SETTING_INFO_INIT);
}
void streamer_progress_init(streamer_progress* made, size_t size) {
  init(made, size, streamer_progress STREAMER_PROGRESS_INIT);
}
void streamer_entry_info_init(streamer_entry_info* made, size_t size) {
  init(made, size, streamer_entry_info STREAMER_ENTRY_INFO_INIT);
}
void streamer_file_info_init(streamer_file_info* made, size_t size) {
  init(made, size, streamer_file_info STREAMER_FILE_INFO_INIT);
}
void streamer_pull_options_init(streamer_pull_options* made, size_t size) {
  init(made, size, streamer_pull_options STREAMER_PULL_OPTIONS_INIT);
}
void streamer_cached_info_init(streamer_cached_info* made, size_t size) {
  init(made, size, streamer_cached_info STREAMER_CACHED_INFO_INIT);
}
void streamer_step_info_init(streamer_step_info* made, size_t size) {
  init(made, size, streamer_step_info STREAMER_STEP_INFO_INIT);
}
void streamer_object_range_init(streamer_object_range* made, size_t size) {
  init(made, size, streamer_object_range STREAMER_OBJECT_RANGE_INIT);
}
void streamer_tensor_info_init(streamer_tensor_info* made, size_t size) {
  init(made, size, streamer_tensor_info STREAMER_TENSOR_INFO_INIT);
}
void streamer_object_info_init(streamer_object_info* made, size_t size) {
  init(made, size, streamer_object_info STREAMER_OBJECT_INFO_INIT);
}
void streamer_plan_item_init(streamer_plan_item* made, size_t size) {
  init(made, size, streamer_plan_item STREAMER_PLAN_ITEM_INIT);
}
void streamer_load_options_init(streamer_load_options* made, size_t size) {
  init(made, size, streamer_load_options STREAMER_LOAD_OPTIONS_INIT);
}
void streamer_load_stats_init(streamer_load_stats* made, size_t size) {
  init(made, size, streamer_load_stats STREAMER_LOAD_STATS_INIT);
}
void streamer_stat_info_init(streamer_stat_info* made, size_t size) {
  init(made, size, streamer_stat_info STREAMER_STAT_INFO_INIT);
}
void streamer_tensor_view_init(streamer_tensor_view* made, size_t size) {
  init(made, size, streamer_tensor_view STREAMER_TENSOR_VIEW_INIT);
}
void streamer_process_use_init(streamer_process_use* made, size_t size) {
  init(made, size, streamer_process_use STREAMER_PROCESS_USE_INIT);
}
void streamer_communicator_init(streamer_communicator* made, size_t size) {
  init(made, size, streamer_communicator STREAMER_COMMUNICATOR_INIT);
}

}  // extern "C"
