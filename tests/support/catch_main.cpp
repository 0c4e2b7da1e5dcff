// SPDX-License-Identifier: Apache-2.0
// main() of the tests, and what counts those that were skipped.
#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include "support/catch.hpp"

#include <cstdio>
#include <set>

namespace streamer::test {

namespace {

// Meson's code for a test that was skipped.
constexpr int kExitSkipped = 77;

struct Counts {
  std::size_t started = 0;
  std::set<std::string> skipped;
};

Counts& counts() {
  static Counts all;
  return all;
}

#if __has_include(<catch2/catch_all.hpp>)
using Listener = Catch::EventListenerBase;
#else
using Listener = Catch::TestEventListenerBase;
#endif

class CountStarted : public Listener {
 public:
  using Listener::Listener;
  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    Listener::testCaseStarting(info);
    ++counts().started;
  }
};
CATCH_REGISTER_LISTENER(CountStarted)

}  // namespace

void skip(const std::string& reason) {
  const std::string name = Catch::getResultCapture().getCurrentTestName();
  if (!counts().skipped.insert(name).second) return;
  // sum_results.py looks for this line.
  std::printf("SKIPPED: %s: %s\n", name.c_str(), reason.c_str());
  std::fflush(stdout);
}

}  // namespace streamer::test

int main(int argc, char** argv) {
  using streamer::test::counts;
  const int failed = Catch::Session().run(argc, argv);
  const bool has_run_none =
      !counts().skipped.empty() && counts().skipped.size() == counts().started;
  return failed == 0 && has_run_none ? streamer::test::kExitSkipped : failed;
}
