// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a test steers the stand-in for libcuda.so.1: stand_in_driver(), found by dlsym().

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace streamer::test {

struct StandInOptions {
  int devices = 2;
  std::uint64_t seed = 1;
  std::uint32_t longest_delay_us = 200;     // before each copy; 0: none
  double copy_seconds_per_byte = 0;         // and so long for each copy, if it is not 0
  std::uint64_t memory_bytes = UINT64_MAX;  // of each device
  int version = 12040;                      // of CUDA that the driver knows
  int init_status = 0;                      // what cuInit() returns
  bool has_pools = true;
};

class StandInDriver {
 public:
  // As if it had just been loaded. Whatever is left of before is given back.
  virtual void begin(const StandInOptions& options) = 0;
  // The n-th call (from 1) of a function fails, and every call of anything after it if it is
  // sticky, as with a device that fell off the bus. status 0: one that suits.
  virtual void fail(const std::string& function, int n, bool is_sticky, int status) = 0;
  virtual int calls(const std::string& function) = 0;
  // How often the calling thread was given a context.
  virtual int contexts_set_here() = 0;
  // The device of the calling thread's context; -1: it has none.
  virtual int current_device() = 0;
  // Gives the calling thread that device's context; -1: none. Counts nowhere.
  virtual void set_current_device(int device) = 0;
  // What must not happen, and did.
  virtual std::vector<std::string> violations() = 0;
  // Of all kinds: memory, pinned ranges, streams, events.
  virtual std::size_t things_alive() = 0;
  // Puts work of the test into a stream.
  virtual void enqueue(void* stream, std::function<void()> what) = 0;
  // What cudaDeviceReset() does to the device's context.
  virtual void reset_device(int device) = 0;

 protected:
  ~StandInDriver() = default;
};

using StandInDriverFunction = StandInDriver* (*)();

}  // namespace streamer::test
