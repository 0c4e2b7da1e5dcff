/* SPDX-License-Identifier: Apache-2.0 */
/* libcufile as tests need it: reads to "devices" whose memory is the host's. Environment:
 * FAKE_CUFILE_FAILS=register refuses files, =read fails the third read. */
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct status {
  int code;
  int cuda_code;
};

struct description {
  int type;
  union {
    int fd;
    void *handle;
  } handle;
  const void *operations;
};

static int fails(const char *what) {
  const char *wanted = getenv("FAKE_CUFILE_FAILS");
  return wanted != NULL && strcmp(wanted, what) == 0;
}

struct status cuFileDriverOpen(void);
struct status cuFileHandleRegister(void **handle, struct description *description);
void cuFileHandleDeregister(void *handle);
ssize_t cuFileRead(void *handle, void *to, size_t size, off_t offset, off_t to_offset);

struct status cuFileDriverOpen(void) {
  struct status status = {0, 0};
  if (fails("driver")) status.code = 5001;
  return status;
}

struct status cuFileHandleRegister(void **handle, struct description *description) {
  struct status status = {0, 0};
  if (fails("register") || description->type != 1) {
    status.code = 5011;
    return status;
  }
  int *kept = malloc(sizeof(int));
  *kept = dup(description->handle.fd);
  *handle = kept;
  return status;
}

void cuFileHandleDeregister(void *handle) {
  close(*(int *)handle);
  free(handle);
}

ssize_t cuFileRead(void *handle, void *to, size_t size, off_t offset, off_t to_offset) {
  static int reads = 0;
  if (fails("read") && __atomic_add_fetch(&reads, 1, __ATOMIC_RELAXED) == 3) return -5030;
  /* The descriptor may be one of O_DIRECT: through a buffer of whole pages. */
  const off_t first = offset & ~(off_t)4095;
  const size_t span = (size_t)(offset - first) + size;
  const size_t whole = (span + 4095) & ~(size_t)4095;
  void *pages = NULL;
  if (posix_memalign(&pages, 4096, whole) != 0) return -1;
  const ssize_t got = pread(*(int *)handle, pages, whole, first);
  ssize_t given = got < 0 ? got : got - (offset - first);
  /* Half of a long read, as the real one may. */
  if (given > (ssize_t)size) given = (ssize_t)size;
  if (given > 4096) given /= 2;
  if (given > 0) memcpy((char *)to + to_offset, (char *)pages + (offset - first), (size_t)given);
  free(pages);
  return given;
}
