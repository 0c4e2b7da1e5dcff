// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the command ends with.

namespace streamer::cli {

// Documented in --help, the manual and docs/command.md.
enum ExitCode : int {
  kExitOk = 0,
  kExitCorrupt = 1,        // the checkpoint breaks the format's rules
  kExitUsage = 2,          // wrong arguments or settings
  kExitStorage = 3,        // not found, refused, changed or unreadable
  kExitMemory = 4,         // the memory limit or memory itself
  kExitDevice = 5,         // a GPU, or what is needed to use one
  kExitInternal = 70,      // a bug
  kExitInterrupted = 130,  // Ctrl-C
  kExitTerminated = 143,   // SIGTERM
};

}  // namespace streamer::cli
