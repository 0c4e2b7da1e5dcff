/* SPDX-License-Identifier: Apache-2.0 */
/* Loads a checkpoint through the C header, as C99 with -pedantic, and compares every tensor with what
 * fread() finds in the file. Usage: load_in_c99 CHECKPOINT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "streamer.h"

#define CHECK(condition)                                               \
  do {                                                                 \
    if (!(condition)) {                                                \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                         \
    }                                                                  \
  } while (0)

static void check_ok(streamer_status status, streamer_error *error) {
  if (status < 100) return;
  fprintf(stderr, "%s\n", streamer_error_line(error));
  exit(1);
}

/* The bytes of a tensor, read with nothing of libstreamer. */
static void compare_with_file(const streamer_checkpoint *checkpoint, const streamer_tensor_view *view) {
  streamer_tensor_info tensor = STREAMER_TENSOR_INFO_INIT;
  streamer_object_info object = STREAMER_OBJECT_INFO_INIT;
  char *bytes = NULL;
  FILE *file = NULL;
  CHECK(streamer_checkpoint_get_tensor_info(checkpoint, view->tensor, &tensor, NULL) == STREAMER_OK);
  CHECK(streamer_checkpoint_get_object_info(checkpoint, tensor.object, &object, NULL) == STREAMER_OK);
  CHECK(tensor.bytes == view->bytes);
  CHECK(strcmp(tensor.name, view->name) == 0);
  if (view->bytes == 0) {
    CHECK(view->data == NULL);
    return;
  }
  bytes = malloc(view->bytes);
  CHECK(bytes != NULL);
  file = fopen(object.uri, "rb");
  CHECK(file != NULL);
  CHECK(fseek(file, (long)tensor.object_offset, SEEK_SET) == 0);
  CHECK(fread(bytes, 1, view->bytes, file) == view->bytes);
  CHECK(memcmp(bytes, view->data, view->bytes) == 0);
  fclose(file);
  free(bytes);
}

static void load_everything(const streamer_checkpoint *checkpoint, int32_t order, const char *limit) {
  streamer_error *error = NULL;
  streamer_settings *settings = NULL;
  streamer_plan *plan = NULL;
  streamer_load *load = NULL;
  streamer_tensor *tensor = NULL;
  streamer_load_options options = STREAMER_LOAD_OPTIONS_INIT;
  streamer_load_stats stats = STREAMER_LOAD_STATS_INIT;
  size_t count = 0;
  streamer_status status = STREAMER_OK;
  options.order = order;
  check_ok(streamer_settings_new(&settings, &error), error);
  check_ok(streamer_settings_set(settings, "memory_limit", limit, &error), error);
  check_ok(streamer_plan_new(checkpoint, &plan, &error), error);
  check_ok(streamer_plan_add_matching(plan, "*", &count, &error), error);
  CHECK(count == streamer_checkpoint_tensor_count(checkpoint));
  CHECK(streamer_plan_bytes(plan) == streamer_checkpoint_bytes(checkpoint));
  check_ok(streamer_load_start(plan, &options, settings, &load, &error), error);
  streamer_plan_free(plan);
  streamer_settings_free(settings);
  while ((status = streamer_load_next(load, -1, &tensor, &error)) == STREAMER_OK) {
    streamer_tensor_view view = STREAMER_TENSOR_VIEW_INIT;
    streamer_tensor_get_view(tensor, &view);
    compare_with_file(checkpoint, &view);
    streamer_tensor_release(tensor);
    --count;
  }
  check_ok(status, error);
  CHECK(status == STREAMER_END);
  CHECK(count == 0);
  streamer_load_get_stats(load, &stats);
  CHECK(stats.bytes_ready == streamer_checkpoint_bytes(checkpoint));
  CHECK(strlen(streamer_held_back_by_name(stats.held_back_by)) > 0);
  streamer_load_close(load);
}

static void fail_clearly(const streamer_checkpoint *checkpoint) {
  streamer_error *error = NULL;
  streamer_error_info info = STREAMER_ERROR_INFO_INIT;
  streamer_checkpoint *none = NULL;
  const char *nowhere = "/nowhere/at/all.safetensors";
  size_t number = 0;
  CHECK(streamer_checkpoint_open(&nowhere, 1, NULL, NULL, &none, &error) == STREAMER_ERROR_NOT_FOUND);
  CHECK(none == NULL);
  streamer_error_get_info(error, &info);
  CHECK(info.status == STREAMER_ERROR_NOT_FOUND);
  CHECK(strcmp(info.uri, nowhere) == 0);
  CHECK(info.os_error != 0);
  CHECK(strstr(streamer_error_line(error), nowhere) != NULL);
  streamer_error_free(error);
  CHECK(streamer_checkpoint_find(checkpoint, "nobody", 6, &number, NULL) == STREAMER_ERROR_NOT_FOUND);
}

int main(int argc, char **argv) {
  streamer_error *error = NULL;
  streamer_checkpoint *checkpoint = NULL;
  const char *uri = argc > 1 ? argv[1] : "";
  CHECK(streamer_version() == STREAMER_VERSION_NUMBER);
  check_ok(streamer_checkpoint_open(&uri, 1, NULL, NULL, &checkpoint, &error), error);
  load_everything(checkpoint, STREAMER_ORDER_COMPLETION, "unlimited");
  load_everything(checkpoint, STREAMER_ORDER_PLAN, "minimum");
  fail_clearly(checkpoint);
  streamer_checkpoint_close(checkpoint);
  streamer_checkpoint_close(NULL);
  printf("every tensor is what the files hold\n");
  return 0;
}
