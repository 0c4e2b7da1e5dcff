/* SPDX-License-Identifier: Apache-2.0
 * The one function of libstreamer_mpi.so. For libstreamer itself: programs call
 * streamer_communicator_open_mpi(). */
#ifndef STREAMER_MPI_H_
#define STREAMER_MPI_H_

#include "streamer.h"

/* Fills communicator_out, or writes text into why. comm: the address of an MPI_Comm, or NULL;
 * all_nodes: whether ranks of other machines belong to it. */
typedef streamer_status (*streamer_mpi_open_function)(const void *comm, int32_t all_nodes,
                                                      streamer_communicator *communicator_out,
                                                      char *why, size_t why_size);
#define STREAMER_MPI_OPEN "streamer_mpi_open_1"

#endif /* STREAMER_MPI_H_ */
