/* SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <dlfcn.h>
#include <stdio.h>

#define EACH_FUNCTION(F) \
  F(version) F(version_string) F(build_info) F(error_get_info) F(error_line) F(error_free) \
  F(settings_new) F(settings_set) F(settings_free) F(operation_new) F(operation_cancel) \
  F(operation_free) F(listing_open) F(listing_open_all) F(listing_count) F(listing_get_info) \
  F(listing_close) F(snapshot) F(files_folder) F(files_close) F(device_parse) F(checkpoint_open) \
  F(checkpoint_notes) F(checkpoint_tensor_count) F(checkpoint_bytes) F(checkpoint_get_tensor_info) \
  F(checkpoint_find) F(checkpoint_object_count) F(checkpoint_get_object_info) F(checkpoint_close) \
  F(dtype_name) F(plan_new) F(plan_add) F(plan_add_matching) F(plan_free) F(load_start) F(load_next) \
  F(load_fd) F(load_cancel) F(load_close) F(stat_count) F(stat_get_info) F(load_get_all_stats) \
  F(tensor_get_view) F(tensor_release)

static struct {
#define POINTER(name) __typeof__(&streamer_##name) name;
  EACH_FUNCTION(POINTER)
} found;

static char *text(const char *path, const char *what) {
  const size_t size = 4096;
  char *made = malloc(size);
  if (made != NULL) snprintf(made, size, "%s %s", path, what);
  return made;
}

char *native_open(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  if (library == NULL) {
    char why[2048];
    snprintf(why, sizeof why, "cannot be loaded: %s; set STREAMER_LIBRARY to libstreamer's path",
             dlerror());
    return text(path, why);
  }
#define FIND(name) \
  found.name = (__typeof__(found.name))dlsym(library, "streamer_" #name); \
  if (found.name == NULL) return text(path, "has no streamer_" #name ": it is not this libstreamer");
  EACH_FUNCTION(FIND)
  /* Before 1.0 a minor version may break what the one before promised. */
  if (found.version() / 1000 != STREAMER_VERSION_NUMBER / 1000) {
    char why[200];
    snprintf(why, sizeof why, "is libstreamer %s; this package is for %d.%d", found.version_string(),
             STREAMER_VERSION_MAJOR, STREAMER_VERSION_MINOR);
    return text(path, why);
  }
  return NULL;
}

const char *native_version_string(void) { return found.version_string(); }
const char *native_build_info(void) { return found.build_info(); }

streamer_error_info native_error_info(const streamer_error *error) {
  streamer_error_info info = STREAMER_ERROR_INFO_INIT;
  found.error_get_info(error, &info);
  return info;
}
const char *native_error_line(const streamer_error *error) { return found.error_line(error); }
void native_error_free(streamer_error *error) { found.error_free(error); }

streamer_status native_settings_new(streamer_settings **out, streamer_error **error) {
  return found.settings_new(out, error);
}
streamer_status native_settings_set(streamer_settings *settings, const char *name, const char *value,
                                    streamer_error **error) {
  return found.settings_set(settings, name, value, error);
}
void native_settings_free(streamer_settings *settings) { found.settings_free(settings); }

streamer_status native_operation_new(streamer_operation **out, streamer_error **error) {
  return found.operation_new(-1, out, error);
}
void native_operation_cancel(streamer_operation *operation) { found.operation_cancel(operation); }
void native_operation_free(streamer_operation *operation) { found.operation_free(operation); }

streamer_status native_listing_open(int is_deep, const char *uri, const streamer_settings *settings,
                                    streamer_operation *operation, streamer_listing **out,
                                    streamer_error **error) {
  return is_deep ? found.listing_open_all(uri, settings, operation, out, error)
                 : found.listing_open(uri, settings, operation, out, error);
}
size_t native_listing_count(const streamer_listing *listing) { return found.listing_count(listing); }
streamer_entry_info native_listing_entry(const streamer_listing *listing, size_t index) {
  streamer_entry_info info = STREAMER_ENTRY_INFO_INIT;
  found.listing_get_info(listing, index, &info, NULL);
  return info;
}
void native_listing_close(streamer_listing *listing) { found.listing_close(listing); }
streamer_status native_snapshot(const char *uri, const streamer_settings *settings,
                                streamer_operation *operation, streamer_files **out,
                                streamer_error **error) {
  return found.snapshot(uri, NULL, settings, operation, out, error);
}
const char *native_files_folder(const streamer_files *files) { return found.files_folder(files); }
void native_files_close(streamer_files *files) { found.files_close(files); }

streamer_status native_checkpoint_open(const char *const *uris, size_t count,
                                       const streamer_settings *settings, streamer_operation *operation,
                                       streamer_checkpoint **out, streamer_error **error) {
  return found.checkpoint_open(uris, count, settings, operation, out, error);
}
const char *native_checkpoint_notes(const streamer_checkpoint *checkpoint) {
  return found.checkpoint_notes(checkpoint);
}
size_t native_checkpoint_tensor_count(const streamer_checkpoint *checkpoint) {
  return found.checkpoint_tensor_count(checkpoint);
}
uint64_t native_checkpoint_bytes(const streamer_checkpoint *checkpoint) {
  return found.checkpoint_bytes(checkpoint);
}
streamer_tensor_info native_checkpoint_tensor(const streamer_checkpoint *checkpoint, size_t tensor) {
  streamer_tensor_info info = STREAMER_TENSOR_INFO_INIT;
  found.checkpoint_get_tensor_info(checkpoint, tensor, &info, NULL);
  return info;
}
streamer_status native_checkpoint_find(const streamer_checkpoint *checkpoint, const char *name,
                                       size_t name_size, size_t *out, streamer_error **error) {
  return found.checkpoint_find(checkpoint, name, name_size, out, error);
}
size_t native_checkpoint_object_count(const streamer_checkpoint *checkpoint) {
  return found.checkpoint_object_count(checkpoint);
}
streamer_object_info native_checkpoint_object(const streamer_checkpoint *checkpoint, size_t object) {
  streamer_object_info info = STREAMER_OBJECT_INFO_INIT;
  found.checkpoint_get_object_info(checkpoint, object, &info, NULL);
  return info;
}
void native_checkpoint_close(streamer_checkpoint *checkpoint) { found.checkpoint_close(checkpoint); }
const char *native_dtype_name(int32_t dtype) { return found.dtype_name(dtype); }

streamer_status native_plan_new(const streamer_checkpoint *checkpoint, streamer_plan **out,
                                streamer_error **error) {
  return found.plan_new(checkpoint, out, error);
}
/* first and second: start and stop of a slice, offset and size of bytes. */
streamer_status native_plan_add(streamer_plan *plan, size_t tensor, int32_t part, uint32_t dimension,
                                uint64_t first, uint64_t second, streamer_error **error) {
  streamer_plan_item item = STREAMER_PLAN_ITEM_INIT;
  item.tensor = tensor;
  item.part = part;
  item.slice_dimension = dimension;
  item.slice_start = item.bytes_offset = first;
  item.slice_stop = item.bytes_size = second;
  return found.plan_add(plan, &item, 1, error);
}
streamer_status native_plan_add_matching(streamer_plan *plan, const char *glob, size_t *added,
                                         streamer_error **error) {
  return found.plan_add_matching(plan, glob, added, error);
}
void native_plan_free(streamer_plan *plan) { found.plan_free(plan); }

streamer_status native_load_start(const streamer_plan *plan, int32_t order, const char *device,
                                  const streamer_settings *settings, streamer_load **out,
                                  streamer_error **error) {
  streamer_load_options options = STREAMER_LOAD_OPTIONS_INIT;
  options.order = order;
  const streamer_status status = found.device_parse(device, &options.device, error);
  return status == STREAMER_OK ? found.load_start(plan, &options, settings, out, error) : status;
}
streamer_status native_load_next(streamer_load *load, streamer_tensor **out, streamer_error **error) {
  return found.load_next(load, 0, out, error);
}
streamer_status native_load_fd(streamer_load *load, int *out, streamer_error **error) {
  return found.load_fd(load, out, error);
}
void native_load_cancel(streamer_load *load) { found.load_cancel(load); }
void native_load_close(streamer_load *load) { found.load_close(load); }
size_t native_stat_count(void) { return found.stat_count(); }
const char *native_stat_name(size_t index) {
  streamer_stat_info info = STREAMER_STAT_INFO_INIT;
  found.stat_get_info(index, &info, NULL);
  return info.name;
}
void native_load_stats(const streamer_load *load, uint64_t *values, size_t count) {
  found.load_get_all_stats(load, values, count);
}
streamer_tensor_view native_tensor_view(const streamer_tensor *tensor) {
  streamer_tensor_view view = STREAMER_TENSOR_VIEW_INIT;
  found.tensor_get_view(tensor, &view);
  return view;
}
void native_tensor_release(streamer_tensor *tensor) { found.tensor_release(tensor); }
