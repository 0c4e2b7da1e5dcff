// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ctrl-C and SIGTERM: the first one cancels what runs, which tidies up behind itself; a second one
// ends the process at once.

#include "streamer/streamer.hpp"

namespace streamer::cli {

// From now on. Once.
Result<void> catch_interrupts();
// What all calls of the command that may take long are given.
[[nodiscard]] const Operation* interrupts() noexcept;
[[nodiscard]] bool was_interrupted() noexcept;
// 130 after Ctrl-C, 143 after SIGTERM, as shells count them.
[[nodiscard]] int interrupted_exit_code() noexcept;

}  // namespace streamer::cli
