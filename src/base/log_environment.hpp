// SPDX-License-Identifier: Apache-2.0
#pragma once
// Logging by environment variables, for users who cannot change the program.

namespace streamer::core::inline base {

// STREAMER_LOG_FILE (a path, to whose end lines are added, or "stderr") and STREAMER_LOG_LEVEL
// (trace, debug, info, warning, error, off; default warning); where they are not set, as the Run:ai
// Model Streamer has it: RUNAI_STREAMER_LOG_FILE, RUNAI_STREAMER_LOG_TO_STDERR=1 and
// RUNAI_STREAMER_LOG_LEVEL. Read once in the life of the process; nothing happens if the program
// has set a sink by then. Thread-safe.
void follow_log_environment();
// The same; then, if no log has been requested and logging is not switched off, errors are printed
// as lines on stderr. For functions that can report only a code for a failure. Thread-safe.
void show_errors();

}  // namespace streamer::core::inline base
