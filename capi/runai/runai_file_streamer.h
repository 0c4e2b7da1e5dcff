/* SPDX-License-Identifier: Apache-2.0 */
/* The native functions of the Run:ai Model Streamer 0.16 and 0.17 (now: Model Streamer), for
 * programs that were made for them: its installed Python package works with
 * STREAMER_LIBRARY=/path/to/libstreamer.so. New programs should use streamer.h. Functions return 0
 * or one of the codes that runai_file_streamer_response_str() names. A handle is for one thread at
 * a time; several handles are independent. */
#ifndef RUNAI_FILE_STREAMER_H_
#define RUNAI_FILE_STREAMER_H_

#include <stddef.h>
#include <stdint.h>

#include "streamer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Identifies one submission; 0: none. */
typedef uint64_t RunaiFileStreamerSubmissionId;

typedef enum RunaiFileStreamerDeviceType {
  RUNAI_FILE_STREAMER_DEVICE_CPU = 0,
  RUNAI_FILE_STREAMER_DEVICE_CUDA = 1
} RunaiFileStreamerDeviceType;

typedef struct RunaiFileStreamerDevice {
  RunaiFileStreamerDeviceType type;
  int id; /* number of the GPU; ignored for the CPU */
} RunaiFileStreamerDevice;

typedef void (*RunaiFileStreamerFileListCallback)(const char *path, size_t file_size, void *user_data);

/* 7 if an environment variable has an invalid value, see runai_start(); *streamer is then not
 * changed. The cause of each failed submission, which a code cannot tell, is a line on stderr,
 * unless the program has a log or STREAMER_LOG_LEVEL is off. */
STREAMER_API int runai_file_streamer_start(void **streamer);
/* Drops what is left, waits for the reads in progress and frees the handle. NULL does nothing. */
STREAMER_API void runai_file_streamer_end(void *streamer);

/* Call once, before anything needs them: access_key_id, secret_access_key, session_token, region,
 * endpoint; other keys and NULL values are ignored. The same values again return 0, others 18.
 * num_params 0 does nothing. */
STREAMER_API int runai_file_streamer_set_credentials(void *streamer, const char **param_keys,
                                                     const char **param_values, unsigned num_params);

/* How local files are read; call once, before the first of them: io_uring_direct,
 * io_uring_buffered, libaio_direct and sync_buffered, the best first, separated by commas. The
 * first one says whether reads bypass the page cache; the library chooses how it waits for them.
 * Without this call RUNAI_STREAMER_FS_STRATEGY applies, or else the library chooses; an invalid
 * value of that variable is reported by the first request of files (7). 7: an unknown name, or one
 * twice; 20: another one was set before. */
STREAMER_API int runai_file_streamer_set_fs_strategy(void *streamer, const char *candidates);

/* Starts reading num_ranges[f] ranges of each file f: range i of all is range_sizes[i] bytes from
 * range_offsets[i] on, to range_dsts[i], grouped by file in their order. Any number of submissions
 * may be in progress; they are read in the order in which they came, by one pool of threads, no more
 * than RUNAI_STREAMER_CONCURRENCY says, and up to three beside them. Strings and arrays are copied;
 * destinations must not overlap and must stay valid until the submission's last response or
 * runai_file_streamer_end(). Each range has one response, also those without bytes. If the call
 * fails, nothing is in progress and *out_submission_id is 0. 7: invalid parameters, such as a range
 * that ends beyond 2^64 bytes; 17: files of several kinds of stores; 23: no such type of device; 25:
 * no device of that number. If a GPU cannot be used, the responses say so: 24, 25, 26 or 28. */
STREAMER_API int runai_file_streamer_request(void *streamer,
                                             RunaiFileStreamerSubmissionId *out_submission_id,
                                             unsigned num_files, const char **paths,
                                             unsigned *num_ranges, size_t *range_offsets,
                                             size_t *range_sizes, void **range_dsts,
                                             RunaiFileStreamerDevice device);

/* Waits for the next range of any submission that is complete (0) or failed (its code), and says
 * which; *submission_done is 1 with the submission's last. timeout_ms 0: no limit. 16: none came in
 * that time; 1: none is outstanding and the wait has no limit. */
STREAMER_API int runai_file_streamer_response(void *streamer,
                                              RunaiFileStreamerSubmissionId *out_submission_id,
                                              unsigned *file_index, unsigned *index,
                                              int *submission_done, unsigned timeout_ms);
/* Static storage. */
STREAMER_API const char *runai_file_streamer_response_str(int response_code);

/* The block size, a power of two, modulo which destinations should be congruent to file offsets, so
 * that bytes need not be moved after a read that bypasses the page cache. Only advice: any
 * destination works. 11 if none of the paths is a readable file; *out_block is then the page size.
 * Objects of stores are ignored. */
STREAMER_API int runai_file_streamer_probe_direct_block_size(void *streamer, const char **paths,
                                                             unsigned num_paths, size_t *out_block);

/* Calls callback, on this thread, for each object under prefix that matches one of the patterns to
 * allow (fnmatch(3); NULL: all) and none to ignore, sorted. Patterns are matched against the whole
 * path of a file as the callback gets it, and against an object's key or its path below prefix. */
STREAMER_API int runai_file_streamer_list_files(void *streamer, const char *prefix, int is_recursive,
                                                const char **allow_patterns,
                                                unsigned num_allow_patterns,
                                                const char **ignore_patterns,
                                                unsigned num_ignore_patterns,
                                                RunaiFileStreamerFileListCallback callback,
                                                void *user_data);

#ifdef __cplusplus
}
#endif

#endif /* RUNAI_FILE_STREAMER_H_ */
