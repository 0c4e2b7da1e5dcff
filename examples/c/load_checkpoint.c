/* SPDX-License-Identifier: Apache-2.0 */
/* Streams a checkpoint to host memory and prints each tensor as soon as it is there. */
#include <stdio.h>

#include "streamer.h"

int main(int argc, char **argv) {
  const char *uri = argc > 1 ? argv[1] : "";
  streamer_checkpoint *checkpoint = NULL;
  streamer_plan *plan = NULL;
  streamer_load *load = NULL;
  streamer_tensor *tensor = NULL;
  streamer_error *error = NULL;
  streamer_status status = streamer_checkpoint_open(&uri, 1, NULL, NULL, &checkpoint, &error);
  if (status == STREAMER_OK) status = streamer_plan_new(checkpoint, &plan, &error);
  if (status == STREAMER_OK) status = streamer_plan_add_matching(plan, "*", NULL, &error);
  if (status == STREAMER_OK) status = streamer_load_start(plan, NULL, NULL, &load, &error);
  while (status == STREAMER_OK) {
    status = streamer_load_next(load, -1, &tensor, &error);
    if (status == STREAMER_OK) {
      streamer_tensor_view view = STREAMER_TENSOR_VIEW_INIT;
      streamer_tensor_get_view(tensor, &view);
      printf("%10llu bytes at %p: %s\n", (unsigned long long)view.bytes, view.data, view.name);
      streamer_tensor_release(tensor);
    }
  }
  if (status != STREAMER_END) fprintf(stderr, "%s\n", streamer_error_line(error));
  streamer_error_free(error);
  streamer_load_close(load);
  streamer_plan_free(plan);
  streamer_checkpoint_close(checkpoint);
  return status == STREAMER_END ? 0 : 1;
}
