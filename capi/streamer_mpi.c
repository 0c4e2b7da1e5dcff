// SPDX-License-Identifier: Apache-2.0
// A communicator over MPI. Everything goes from rank to rank, not through MPI's collectives: these
// do not end when a rank is gone, and do not say which one it is.
#include "streamer_mpi.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

enum { kGatherTag = 1, kDataTag = 2 };

typedef struct {
  MPI_Comm comm;
  int rank;
  int size;
  int has_failed;
  MPI_Request *requests; /* by rank what comes from it, then by rank what goes there */
} Ranks;

/* Whether one of ours, with transfers that will never end, keeps MPI from ending. */
static int some_failed = 0;

static void finalize(void) {
  int is_over = 0;
  if (some_failed || MPI_Finalized(&is_over) != MPI_SUCCESS || is_over) return;
  MPI_Finalize();
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static streamer_status say(streamer_status status, const char *call, int code, char *why,
                           size_t why_size) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  snprintf(why, why_size, "%s: %s", call, text);
  return status;
}

/* Names the ranks with which something is still to be done. */
static streamer_status timed_out(const Ranks *ranks, uint64_t timeout_ms, char *why,
                                 size_t why_size) {
  int length = 0;
  for (int rank = 0; rank < ranks->size && length >= 0 && (size_t)length < why_size; ++rank) {
    if (ranks->requests[rank] == MPI_REQUEST_NULL &&
        ranks->requests[ranks->size + rank] == MPI_REQUEST_NULL)
      continue;
    length += snprintf(why + length, why_size - (size_t)length, "%s%d",
                       length == 0 ? "no answer from rank " : ", ", rank);
  }
  if (length >= 0 && (size_t)length < why_size)
    snprintf(why + length, why_size - (size_t)length, " within %llu ms: gone, or busy elsewhere",
             (unsigned long long)timeout_ms);
  return STREAMER_ERROR_TIMED_OUT;
}

/* Until all requests are done. MPI moves bytes only while it is called and has no wait with an end, so
 * this asks again and again, at longer intervals while nothing ends. */
static streamer_status finish(Ranks *ranks, uint64_t timeout_ms, char *why, size_t why_size) {
  const double until = now() + (double)timeout_ms * 1e-3;
  const double pause_after_s = 1e-3;
  double last_news = now();
  int left = 2 * ranks->size;
  int *const done = malloc(sizeof(int) * (size_t)left);
  if (done == NULL) {
    snprintf(why, why_size, "there is no memory for %d requests", left);
    return STREAMER_ERROR_OUT_OF_MEMORY;
  }
  streamer_status status = STREAMER_OK;
  for (;;) {
    int count = 0;
    const int code =
        MPI_Testsome(2 * ranks->size, ranks->requests, &count, done, MPI_STATUSES_IGNORE);
    if (code != MPI_SUCCESS) {
      status = say(STREAMER_ERROR_IO, "MPI_Testsome", code, why, why_size);
      break;
    }
    if (count == MPI_UNDEFINED) break; /* none is left */
    const double time = now();
    if (count != 0) last_news = time;
    if (time >= until) {
      status = timed_out(ranks, timeout_ms, why, why_size);
      break;
    }
    if (time - last_news < pause_after_s) {
      sched_yield();
    } else {
      const struct timespec pause = {0, 50 * 1000};
      nanosleep(&pause, NULL);
    }
  }
  free(done);
  if (status != STREAMER_OK) ranks->has_failed = some_failed = 1;
  return status;
}

/* The memory of one rank in a call. */
typedef struct {
  const void *send;
  uint64_t send_bytes;
  void *receive;
  uint64_t receive_bytes;
} Transfer;

static streamer_status transfer(Ranks *ranks, const Transfer *transfers, int tag,
                                uint64_t timeout_ms, char *why, size_t why_size) {
  if (ranks->has_failed) {
    snprintf(why, why_size, "this communicator has failed before");
    return STREAMER_ERROR_IO;
  }
  for (int i = 0; i < 2 * ranks->size; ++i)
    ranks->requests[i] = MPI_REQUEST_NULL;
  int code = MPI_SUCCESS;
  const char *call = "MPI_Irecv";
  for (int rank = 0; rank < ranks->size && code == MPI_SUCCESS; ++rank) {
    if (rank == ranks->rank || transfers[rank].receive_bytes == 0) continue;
    code = MPI_Irecv(transfers[rank].receive, (int)transfers[rank].receive_bytes, MPI_BYTE, rank,
                     tag, ranks->comm, &ranks->requests[rank]);
  }
  for (int step = 1; step < ranks->size && code == MPI_SUCCESS; ++step) {
    const int rank = (ranks->rank + step) % ranks->size; /* not all to the same one first */
    if (transfers[rank].send_bytes == 0) continue;
    call = "MPI_Isend";
    code = MPI_Isend(transfers[rank].send, (int)transfers[rank].send_bytes, MPI_BYTE, rank, tag,
                     ranks->comm, &ranks->requests[ranks->size + rank]);
  }
  if (code != MPI_SUCCESS) {
    ranks->has_failed = some_failed = 1;
    return say(STREAMER_ERROR_IO, call, code, why, why_size);
  }
  return finish(ranks, timeout_ms, why, why_size);
}

/* MPI counts in an int. */
static streamer_status check_size(uint64_t bytes, char *why, size_t why_size) {
  if (bytes <= 0x7FFFFFFF) return STREAMER_OK;
  snprintf(why, why_size, "%llu bytes are too many for one MPI message", (unsigned long long)bytes);
  return STREAMER_ERROR_UNSUPPORTED;
}

static streamer_status all_gather(void *context, const void *mine, void *all, uint64_t bytes,
                                  uint64_t timeout_ms, char *why, size_t why_size) {
  Ranks *const ranks = context;
  streamer_status status = check_size(bytes, why, why_size);
  if (status != STREAMER_OK) return status;
  Transfer *const transfers = calloc((size_t)ranks->size, sizeof(Transfer));
  if (transfers == NULL) {
    snprintf(why, why_size, "there is no memory for the list of ranks");
    return STREAMER_ERROR_OUT_OF_MEMORY;
  }
  for (int rank = 0; rank < ranks->size; ++rank) {
    const Transfer one = {mine, bytes, (char *)all + (uint64_t)rank * bytes, bytes};
    transfers[rank] = one;
  }
  if (bytes != 0) memcpy((char *)all + (uint64_t)ranks->rank * bytes, mine, bytes);
  status = transfer(ranks, transfers, kGatherTag, timeout_ms, why, why_size);
  free(transfers);
  return status;
}

static streamer_status all_to_all(void *context, const streamer_outgoing *send,
                                  const streamer_incoming *receive, uint64_t timeout_ms, char *why,
                                  size_t why_size) {
  Ranks *const ranks = context;
  Transfer *const transfers = calloc((size_t)ranks->size, sizeof(Transfer));
  if (transfers == NULL) {
    snprintf(why, why_size, "there is no memory for the list of ranks");
    return STREAMER_ERROR_OUT_OF_MEMORY;
  }
  streamer_status status = STREAMER_OK;
  for (int rank = 0; rank < ranks->size && status == STREAMER_OK; ++rank) {
    const Transfer one = {send[rank].data, send[rank].bytes, receive[rank].data,
                          receive[rank].bytes};
    transfers[rank] = one;
    status = check_size(one.send_bytes, why, why_size);
    if (status == STREAMER_OK) status = check_size(one.receive_bytes, why, why_size);
  }
  if (status == STREAMER_OK)
    status = transfer(ranks, transfers, kDataTag, timeout_ms, why, why_size);
  free(transfers);
  return status;
}

static void close_ranks(void *context) {
  Ranks *const ranks = context;
  int is_over = 0;
  MPI_Finalized(&is_over);
  /* Freeing is collective: not with ranks that are gone. */
  if (!is_over && !ranks->has_failed) MPI_Comm_free(&ranks->comm);
  free(ranks->requests);
  free(ranks);
}

static streamer_status start_mpi(char *why, size_t why_size) {
  int is_started = 0;
  int is_over = 0;
  int level = 0;
  MPI_Initialized(&is_started);
  MPI_Finalized(&is_over);
  if (is_over) {
    snprintf(why, why_size, "MPI was ended already in this process");
    return STREAMER_ERROR_UNSUPPORTED;
  }
  if (is_started) {
    MPI_Query_thread(&level);
  } else {
    const int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level);
    if (code != MPI_SUCCESS)
      return say(STREAMER_ERROR_UNSUPPORTED, "MPI_Init_thread", code, why, why_size);
    atexit(finalize);
  }
  if (level >= MPI_THREAD_SERIALIZED) return STREAMER_OK;
  snprintf(why, why_size,
           "MPI was started for one thread only; start it with MPI_Init_thread() and "
           "MPI_THREAD_MULTIPLE");
  return STREAMER_ERROR_UNSUPPORTED;
}

EXPORT streamer_status streamer_mpi_open_1(const void *comm, int32_t all_nodes,
                                           streamer_communicator *communicator_out, char *why,
                                           size_t why_size);

streamer_status streamer_mpi_open_1(const void *comm, int32_t all_nodes,
                                    streamer_communicator *communicator_out, char *why,
                                    size_t why_size) {
  const streamer_status started = start_mpi(why, why_size);
  if (started != STREAMER_OK) return started;
  const MPI_Comm from = comm == NULL ? MPI_COMM_WORLD : *(const MPI_Comm *)comm;
  Ranks *const ranks = calloc(1, sizeof(Ranks));
  if (ranks == NULL) {
    snprintf(why, why_size, "there is no memory for a communicator");
    return STREAMER_ERROR_OUT_OF_MEMORY;
  }
  int code = all_nodes ? MPI_Comm_dup(from, &ranks->comm)
                       : MPI_Comm_split_type(from, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
                                             &ranks->comm);
  if (code != MPI_SUCCESS) {
    free(ranks);
    return say(STREAMER_ERROR_IO, "MPI_Comm_dup", code, why, why_size);
  }
  MPI_Comm_set_errhandler(ranks->comm, MPI_ERRORS_RETURN);
  MPI_Comm_rank(ranks->comm, &ranks->rank);
  MPI_Comm_size(ranks->comm, &ranks->size);
  ranks->requests = calloc(2 * (size_t)ranks->size, sizeof(MPI_Request));
  if (ranks->requests == NULL) {
    close_ranks(ranks);
    snprintf(why, why_size, "there is no memory for a communicator");
    return STREAMER_ERROR_OUT_OF_MEMORY;
  }
  communicator_out->rank = (uint32_t)ranks->rank;
  communicator_out->size = (uint32_t)ranks->size;
  communicator_out->device = STREAMER_DEVICE_HOST;
  communicator_out->device_number = 0;
  communicator_out->context = ranks;
  communicator_out->all_gather = all_gather;
  communicator_out->all_to_all = all_to_all;
  communicator_out->close = close_ranks;
  return STREAMER_OK;
}
