/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of streamer.h, found at run time. Go cannot call pointers to functions: each has one of
 * C in front of it, native_NAME. */
#ifndef NATIVE_H_
#define NATIVE_H_

#include <stdlib.h>

#include "streamer.h"

/* NULL: it is open. Otherwise what is wrong, to be freed. */
char *native_open(const char *path);

const char *native_version_string(void);
const char *native_build_info(void);

streamer_error_info native_error_info(const streamer_error *error);
const char *native_error_line(const streamer_error *error);
void native_error_free(streamer_error *error);

streamer_status native_settings_new(streamer_settings **out, streamer_error **error);
streamer_status native_settings_set(streamer_settings *settings, const char *name, const char *value,
                                    streamer_error **error);
void native_settings_free(streamer_settings *settings);

streamer_status native_operation_new(streamer_operation **out, streamer_error **error);
void native_operation_cancel(streamer_operation *operation);
void native_operation_free(streamer_operation *operation);

streamer_status native_listing_open(int is_deep, const char *uri, const streamer_settings *settings,
                                    streamer_operation *operation, streamer_listing **out,
                                    streamer_error **error);
size_t native_listing_count(const streamer_listing *listing);
streamer_entry_info native_listing_entry(const streamer_listing *listing, size_t index);
void native_listing_close(streamer_listing *listing);
streamer_status native_snapshot(const char *uri, const streamer_settings *settings,
                                streamer_operation *operation, streamer_files **out,
                                streamer_error **error);
const char *native_files_folder(const streamer_files *files);
void native_files_close(streamer_files *files);

streamer_status native_checkpoint_open(const char *const *uris, size_t count,
                                       const streamer_settings *settings, streamer_operation *operation,
                                       streamer_checkpoint **out, streamer_error **error);
const char *native_checkpoint_notes(const streamer_checkpoint *checkpoint);
size_t native_checkpoint_tensor_count(const streamer_checkpoint *checkpoint);
uint64_t native_checkpoint_bytes(const streamer_checkpoint *checkpoint);
streamer_tensor_info native_checkpoint_tensor(const streamer_checkpoint *checkpoint, size_t tensor);
streamer_status native_checkpoint_find(const streamer_checkpoint *checkpoint, const char *name,
                                       size_t name_size, size_t *out, streamer_error **error);
size_t native_checkpoint_object_count(const streamer_checkpoint *checkpoint);
streamer_object_info native_checkpoint_object(const streamer_checkpoint *checkpoint, size_t object);
void native_checkpoint_close(streamer_checkpoint *checkpoint);
const char *native_dtype_name(int32_t dtype);

streamer_status native_plan_new(const streamer_checkpoint *checkpoint, streamer_plan **out,
                                streamer_error **error);
streamer_status native_plan_add(streamer_plan *plan, size_t tensor, int32_t part, uint32_t dimension,
                                uint64_t first, uint64_t second, streamer_error **error);
streamer_status native_plan_add_matching(streamer_plan *plan, const char *glob, size_t *added,
                                         streamer_error **error);
void native_plan_free(streamer_plan *plan);

streamer_status native_load_start(const streamer_plan *plan, int32_t order, const char *device,
                                  const streamer_settings *settings, streamer_load **out,
                                  streamer_error **error);
streamer_status native_load_next(streamer_load *load, streamer_tensor **out, streamer_error **error);
streamer_status native_load_fd(streamer_load *load, int *out, streamer_error **error);
void native_load_cancel(streamer_load *load);
void native_load_close(streamer_load *load);
size_t native_stat_count(void);
const char *native_stat_name(size_t index);
void native_load_stats(const streamer_load *load, uint64_t *values, size_t count);
streamer_tensor_view native_tensor_view(const streamer_tensor *tensor);
void native_tensor_release(streamer_tensor *tensor);

#endif
