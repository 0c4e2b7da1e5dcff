// SPDX-License-Identifier: Apache-2.0
#pragma once
// External programs that print credentials.

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace streamer::core::inline auth {

struct Program {
  std::string name;                    // for people: "credential_process"
  std::vector<std::string> words;      // the program and its arguments
  std::vector<std::string> variables;  // "NAME=value", beside this process's own
  std::chrono::milliseconds deadline{60'000};
};

// Runs it without a shell, without input, in its own process group, and waits. Returns its standard
// output. Fails if it cannot be started (not_found), does not end in time, prints more than 64 KiB,
// or ends with a status other than 0.
Result<Secret> run_program(const Program& program);

// Words as a shell would split them: quotes and backslashes, no expansion. Fails on an open quote
// and on nothing at all; name is what the command is called in errors.
Result<std::vector<std::string>> split_words(std::string_view name, std::string_view command);

}  // namespace streamer::core::inline auth
