// SPDX-License-Identifier: Apache-2.0
// Stand-ins for functions that headers, libstdc++ and start-up files of newer systems expect, made of
// what glibc 2.17 and later have. glibc_floor.py builds and links them; with -DFOR_STATIC those that a static
// library may carry, whichever glibc its program is linked with.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// 2.32: whether a program has one thread. "No" is always right.
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;

#ifndef FOR_STATIC
// 2.33: until then programs had functions of their own, over others that remain but do not link any more.
#ifdef __x86_64__
enum { kStatVersion = 1 };
#else
enum { kStatVersion = 0 };
#endif
extern int __xstat(int version, const char* path, struct stat* out);
extern int __fxstat(int version, int fd, struct stat* out);
extern int __lxstat(int version, const char* path, struct stat* out);
extern int __fxstatat(int version, int at, const char* path, struct stat* out, int flags);
extern int __xmknod(int version, const char* path, mode_t mode, dev_t* device);

int stat(const char* path, struct stat* out) { return __xstat(kStatVersion, path, out); }
int fstat(int fd, struct stat* out) { return __fxstat(kStatVersion, fd, out); }
int lstat(const char* path, struct stat* out) { return __lxstat(kStatVersion, path, out); }
int fstatat(int at, const char* path, struct stat* out, int flags) {
  return __fxstatat(kStatVersion, at, path, out, flags);
}
// The same struct on 64-bit systems.
int stat64(const char* path, struct stat64* out) {
  return __xstat(kStatVersion, path, (struct stat*)out);
}
int fstat64(int fd, struct stat64* out) { return __fxstat(kStatVersion, fd, (struct stat*)out); }
int lstat64(const char* path, struct stat64* out) {
  return __lxstat(kStatVersion, path, (struct stat*)out);
}
int fstatat64(int at, const char* path, struct stat64* out, int flags) {
  return __fxstatat(kStatVersion, at, path, (struct stat*)out, flags);
}
int mknod(const char* path, mode_t mode, dev_t device) {
  return __xmknod(0, path, mode, &device);
}
#endif

// 2.36; libstdc++'s std::random_device asks for it.
uint32_t arc4random(void) {
  uint32_t value = 0;
  // The kernel waits only before it has its first entropy, at boot.
  while (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value) {
  }
  return value;
}

// 2.30
pid_t gettid(void) { return (pid_t)syscall(SYS_gettid); }

// 2.30. A wait until a time of the monotonic clock is, where glibc has none, a series of short waits on
// the other clock, so that setting that clock delays nothing; each ends like a spurious wakeup.
typedef int (*ClockWait)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const struct timespec*);

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const struct timespec* until) {
  static _Atomic(ClockWait) known;
  static _Atomic(int) was_sought;
  if (!was_sought) {
    known = (ClockWait)dlsym(RTLD_DEFAULT, "pthread_cond_clockwait");
    was_sought = 1;
  }
  const ClockWait newer = known;
  if (newer) return newer(condition, mutex, clock, until);
  struct timespec now, wake;
  clock_gettime(clock, &now);
  int64_t left_ns = (until->tv_sec - now.tv_sec) * INT64_C(1000000000) + (until->tv_nsec - now.tv_nsec);
  if (left_ns <= 0) return ETIMEDOUT;
  const int64_t longest_ns = 500000000;
  const int is_last = left_ns <= longest_ns;
  if (!is_last) left_ns = longest_ns;
  clock_gettime(CLOCK_REALTIME, &wake);
  wake.tv_nsec += left_ns;
  if (wake.tv_nsec >= 1000000000) {
    wake.tv_nsec -= 1000000000;
    wake.tv_sec += 1;
  }
  const int result = pthread_cond_timedwait(condition, mutex, &wake);
  return result == ETIMEDOUT && !is_last ? 0 : result;
}

#if defined(DLFO_STRUCT_HAS_EH_DBASE) && !defined(FOR_STATIC)
// 2.35: which loaded object an address is in, for libgcc's unwinder.
struct Sought {
  uintptr_t address;
  struct dl_find_object* out;
};

static int is_sought(struct dl_phdr_info* info, size_t size, void* user) {
  (void)size;
  const struct Sought* const sought = user;
  uintptr_t eh_frame = 0, begin = 0, end = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* const part = &info->dlpi_phdr[i];
    const uintptr_t at = info->dlpi_addr + part->p_vaddr;
    if (part->p_type == PT_GNU_EH_FRAME) eh_frame = at;
    if (part->p_type == PT_LOAD && sought->address >= at && sought->address < at + part->p_memsz) {
      begin = at;
      end = at + part->p_memsz;
    }
  }
  if (end == 0) return 0;
  if (eh_frame == 0) return -1;
  sought->out->dlfo_map_start = (void*)begin;
  sought->out->dlfo_map_end = (void*)end;
  sought->out->dlfo_eh_frame = (void*)eh_frame;
#if DLFO_STRUCT_HAS_EH_DBASE
  sought->out->dlfo_eh_dbase = NULL;
#endif
  return 1;
}

int _dl_find_object(void* address, struct dl_find_object* out) {
  struct Sought sought = {(uintptr_t)address, out};
  return dl_iterate_phdr(is_sought, &sought) == 1 ? 0 : -1;
}
#endif

// 2.34. Where glibc has none: what is open now is closed.
typedef int (*CloseFrom)(posix_spawn_file_actions_t*, int);

int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t* actions, int from) {
  const CloseFrom newer = (CloseFrom)dlsym(RTLD_DEFAULT, "posix_spawn_file_actions_addclosefrom_np");
  if (newer) return newer(actions, from);
  DIR* const open_files = opendir("/proc/self/fd");
  if (!open_files) return errno;
  int result = 0;
  for (struct dirent* each; result == 0 && (each = readdir(open_files)) != NULL;) {
    const int fd = atoi(each->d_name);
    if (fd >= from) result = posix_spawn_file_actions_addclose(actions, fd);
  }
  closedir(open_files);
  return result;
}

#ifndef FOR_STATIC
// 2.34: programs gave their own loop over constructors to __libc_start_main; since then it finds them
// itself, which the older one does not.
typedef void (*Constructor)(int, char**, char**);
extern Constructor __preinit_array_start[] __attribute__((weak, visibility("hidden")));
extern Constructor __preinit_array_end[] __attribute__((weak, visibility("hidden")));
extern Constructor __init_array_start[] __attribute__((weak, visibility("hidden")));
extern Constructor __init_array_end[] __attribute__((weak, visibility("hidden")));
extern void _init(void) __attribute__((weak));

static void run_constructors(int count, char** arguments, char** environment) {
  for (Constructor* each = __preinit_array_start; each < __preinit_array_end; ++each)
    (*each)(count, arguments, environment);
  if (_init) _init();
  for (Constructor* each = __init_array_start; each < __init_array_end; ++each)
    (*each)(count, arguments, environment);
}

int __libc_start_main(int (*main)(int, char**, char**), int count, char** arguments, Constructor init,
                      void (*fini)(void), void (*loader_fini)(void), void* stack_end);

// What start-up files call in its place.
int glibc_floor_start_main(int (*main)(int, char**, char**), int count, char** arguments, Constructor init,
                           void (*fini)(void), void (*loader_fini)(void), void* stack_end) {
  return __libc_start_main(main, count, arguments, init ? init : run_constructors, fini, loader_fini,
                           stack_end);
}
#endif
