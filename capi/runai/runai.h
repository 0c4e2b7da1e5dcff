/* SPDX-License-Identifier: Apache-2.0 */
/* The native functions of the Run:ai Model Streamer 0.15, for programs that were made for it: its
 * installed Python package works with STREAMER_LIBRARY=/path/to/libstreamer.so. New programs should use
 * streamer.h. Codes are 0 or one of those that runai_response_str() names. A handle is for one thread
 * at a time; several handles are independent. */
#ifndef RUNAI_H_
#define RUNAI_H_

#include <stddef.h>

#include "streamer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 7 if RUNAI_STREAMER_CONCURRENCY, RUNAI_STREAMER_OBJ_CONCURRENCY or RUNAI_STREAMER_CHUNK_BYTESIZE is
 * set to something other than a number above 0, or RUNAI_STREAMER_S3_TIMEOUT (seconds) to something
 * that is not a number; *streamer is then not changed. The cause of each failure, which a code cannot
 * tell, is a line on stderr, unless the program has a log or STREAMER_LOG_LEVEL is off. */
STREAMER_API int runai_start(void **streamer);
/* Drops what is left and frees the handle. NULL does nothing. */
STREAMER_API void runai_end(void *streamer);

/* Starts reading bytesizes[i] bytes from file_offsets[i] of each of num_files files to dsts[0], one
 * file after the other, and returns; other destinations are ignored. File i consists of
 * num_sizes[i] consecutive ranges of internal_sizes[i][..] bytes. Strings and arrays are
 * copied; the destination must stay valid until the last response or runai_end(). Credentials are for
 * s3://, and each may be NULL. 7: invalid parameters; 8: nothing to do; 9: responses of the previous
 * request are outstanding. */
STREAMER_API int runai_request(void *streamer, unsigned num_files, const char **paths,
                               size_t *file_offsets, size_t *bytesizes, void **dsts,
                               unsigned *num_sizes, size_t **internal_sizes, const char *key,
                               const char *secret, const char *token, const char *region,
                               const char *endpoint);
/* Waits for the next range that is complete (0) or failed, and says which: each is reported once. 1
 * after the last, or without a request; *index is then 0. */
STREAMER_API int runai_response(void *streamer, unsigned *file_index, unsigned *index);
/* Static storage. */
STREAMER_API const char *runai_response_str(int code);

#ifdef __cplusplus
}
#endif

#endif /* RUNAI_H_ */
