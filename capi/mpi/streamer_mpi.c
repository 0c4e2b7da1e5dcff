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
} Ranks;

/* The transfers of one call. */
typedef struct {
  MPI_Request *requests;
  int *ranks; /* by request: with whom */
  int *done;  /* for MPI_Testsome() */
  int count;
} Transfers;

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
static streamer_status timed_out(const Transfers *transfers, int size, uint64_t timeout_ms, char *why,
                                 size_t why_size) {
  int length = 0;
  for (int rank = 0; rank < size && length >= 0 && (size_t)length < why_size; ++rank) {
    int is_open = 0;
    for (int i = 0; i < transfers->count; ++i)
      is_open |= transfers->ranks[i] == rank && transfers->requests[i] != MPI_REQUEST_NULL;
    if (!is_open) continue;
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
static streamer_status finish(Transfers *transfers, int size, uint64_t timeout_ms, char *why,
                              size_t why_size) {
  const double until = now() + (double)timeout_ms * 1e-3;
  const double pause_after_s = 2e-4;
  double last_news = now();
  for (;;) {
    int count = 0;
    const int code = MPI_Testsome(transfers->count, transfers->requests, &count, transfers->done,
                                  MPI_STATUSES_IGNORE);
    if (code != MPI_SUCCESS) return say(STREAMER_ERROR_IO, "MPI_Testsome", code, why, why_size);
    if (count == MPI_UNDEFINED) return STREAMER_OK; /* none is left */
    const double time = now();
    if (count != 0) last_news = time;
    if (time >= until) return timed_out(transfers, size, timeout_ms, why, why_size);
    if (time - last_news < pause_after_s) {
      sched_yield();
    } else {
      const struct timespec pause = {0, 50 * 1000};
      nanosleep(&pause, NULL);
    }
  }
}

static streamer_status start_one(const Ranks *ranks, Transfers *transfers, const void *send,
                                 void *receive, uint64_t bytes, int rank, int tag, char *why,
                                 size_t why_size) {
  if (bytes > 0x7FFFFFFF) {
    snprintf(why, why_size, "%llu bytes are too many for one MPI message",
             (unsigned long long)bytes);
    return STREAMER_ERROR_UNSUPPORTED;
  }
  MPI_Request *const request = &transfers->requests[transfers->count];
  const int code = receive != NULL
                       ? MPI_Irecv(receive, (int)bytes, MPI_BYTE, rank, tag, ranks->comm, request)
                       : MPI_Isend(send, (int)bytes, MPI_BYTE, rank, tag, ranks->comm, request);
  if (code != MPI_SUCCESS)
    return say(STREAMER_ERROR_IO, receive != NULL ? "MPI_Irecv" : "MPI_Isend", code, why, why_size);
  transfers->ranks[transfers->count++] = rank;
  return STREAMER_OK;
}

static streamer_status transfer(Ranks *ranks, const streamer_outgoing *send, size_t send_count,
                                const streamer_incoming *receive, size_t receive_count, int tag,
                                uint64_t timeout_ms, char *why, size_t why_size) {
  if (ranks->has_failed) {
    snprintf(why, why_size, "this communicator has failed before");
    return STREAMER_ERROR_IO;
  }
  const size_t most = send_count + receive_count;
  if (most == 0) return STREAMER_OK;
  Transfers transfers = {calloc(most, sizeof(MPI_Request)), calloc(most, sizeof(int)),
                         calloc(most, sizeof(int)), 0};
  streamer_status status = STREAMER_OK;
  if (transfers.requests == NULL || transfers.ranks == NULL || transfers.done == NULL) {
    snprintf(why, why_size, "not enough memory for %zu transfers", most);
    status = STREAMER_ERROR_OUT_OF_MEMORY;
  }
  for (size_t i = 0; i < receive_count && status == STREAMER_OK; ++i)
    status = start_one(ranks, &transfers, NULL, receive[i].data, receive[i].bytes,
                       (int)receive[i].rank, tag, why, why_size);
  for (size_t i = 0; i < send_count && status == STREAMER_OK; ++i)
    status = start_one(ranks, &transfers, send[i].data, NULL, send[i].bytes, (int)send[i].rank, tag,
                       why, why_size);
  if (status == STREAMER_OK) status = finish(&transfers, ranks->size, timeout_ms, why, why_size);
  if (status == STREAMER_OK) {
    free(transfers.requests);
  } else {
    ranks->has_failed = some_failed = 1; /* MPI may still write to the requests */
  }
  free(transfers.ranks);
  free(transfers.done);
  return status;
}

static streamer_status all_gather(void *context, const void *mine, void *all, uint64_t bytes,
                                  uint64_t timeout_ms, char *why, size_t why_size) {
  Ranks *const ranks = context;
  if (bytes == 0) return STREAMER_OK;
  const size_t others = (size_t)ranks->size - 1;
  streamer_outgoing *const send = calloc(others + 1, sizeof(streamer_outgoing));
  streamer_incoming *const receive = calloc(others + 1, sizeof(streamer_incoming));
  streamer_status status = STREAMER_ERROR_OUT_OF_MEMORY;
  if (send == NULL || receive == NULL) {
    snprintf(why, why_size, "not enough memory for the list of ranks");
  } else {
    memcpy((char *)all + (uint64_t)ranks->rank * bytes, mine, bytes);
    for (size_t i = 0; i < others; ++i) {
      const uint32_t rank = (uint32_t)((size_t)ranks->rank + 1 + i) % (uint32_t)ranks->size;
      const streamer_outgoing to = {mine, bytes, rank};
      const streamer_incoming from = {(char *)all + rank * bytes, bytes, rank};
      send[i] = to;
      receive[i] = from;
    }
    status = transfer(ranks, send, others, receive, others, kGatherTag, timeout_ms, why, why_size);
  }
  free(send);
  free(receive);
  return status;
}

static streamer_status all_to_all(void *context, const streamer_outgoing *send, size_t send_count,
                                  const streamer_incoming *receive, size_t receive_count,
                                  uint64_t timeout_ms, char *why, size_t why_size) {
  return transfer(context, send, send_count, receive, receive_count, kDataTag, timeout_ms, why,
                  why_size);
}

static void close_ranks(void *context) {
  Ranks *const ranks = context;
  int is_over = 0;
  MPI_Finalized(&is_over);
  /* Freeing is collective: not with ranks that are gone. */
  if (!is_over && !ranks->has_failed) MPI_Comm_free(&ranks->comm);
  free(ranks);
}

static streamer_status start_mpi(char *why, size_t why_size) {
  int is_started = 0;
  int is_over = 0;
  int level = 0;
  MPI_Initialized(&is_started);
  MPI_Finalized(&is_over);
  if (is_over) {
    snprintf(why, why_size, "MPI was already finalized in this process");
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
    snprintf(why, why_size, "not enough memory for a communicator");
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
  communicator_out->rank = (uint32_t)ranks->rank;
  communicator_out->size = (uint32_t)ranks->size;
  communicator_out->device.kind = STREAMER_DEVICE_HOST;
  communicator_out->device.number = 0;
  communicator_out->context = ranks;
  communicator_out->all_gather = all_gather;
  communicator_out->all_to_all = all_to_all;
  communicator_out->close = close_ranks;
  return STREAMER_OK;
}
