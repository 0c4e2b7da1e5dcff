// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a test steers the stand-in for NCCL, by dlsym(): fake_nccl_use(), fake_nccl_fail(),
// fake_nccl_alive().

namespace streamer::test {

// Puts work(argument) into a stream.
using FakeNcclEnqueue = void (*)(void* stream, void (*work)(void*), void* argument);

}  // namespace streamer::test
