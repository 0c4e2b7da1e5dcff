// SPDX-License-Identifier: Apache-2.0
#include "distributed/agreement.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/crypto.hpp"
#include "base/guarded.hpp"
#include "distributed/distributed_settings.hpp"
#include "engine/load_settings.hpp"

namespace streamer::core::inline distributed {

namespace {

// All ranks run on machines of one byte order, and with the same library: the first thing that
// gather_needs() compares.
constexpr std::uint64_t kProtocol = 0x6C69627374726D02;

// One rank's state. Of a fixed size, as all_gather() requires.
struct State {
  std::int32_t has_failed = 0;
  std::int32_t kind = 0;
  std::uint32_t text_bytes = 0;
  std::array<char, 1012> text{};
};
static_assert(sizeof(State) == 1024);

struct Hello {
  std::uint64_t protocol = kProtocol;
  Sha256Digest checkpoint{};
  Sha256Digest needs{};
  std::uint64_t needs_bytes = 0;
  std::uint64_t buffer_bytes = 0;
  std::uint64_t gap_bytes = 0;
  std::uint32_t policy = 0;
  std::uint32_t on_device = 0;
};

// What every rank gave, in the order of the ranks; as many from each.
template <typename T>
Result<std::vector<T>> gather(Communicator& communicator, std::vector<T> mine,
                              std::chrono::milliseconds timeout) {
  struct Call {
    std::vector<T> mine;
    std::vector<T> all;
  };
  auto call = std::make_unique<Call>();
  call->all.resize(mine.size() * communicator.size());
  call->mine = std::move(mine);
  const auto done = communicator.all_gather(std::as_bytes(std::span(call->mine)),
                                            std::as_writable_bytes(std::span(call->all)), timeout);
  if (done) return std::move(call->all);
  // After a timeout, transfers may still read the one and write to the other: they are never freed.
  static auto* const all = new Guarded<std::vector<std::unique_ptr<Call>>>;
  all->with([&](auto& kept) { kept.push_back(std::move(call)); });
  return done.error().copy();
}

Error from_rank(std::uint32_t rank, const State& state) {
  // Another library may know more kinds than this one.
  const auto kind = static_cast<ErrorKind>(state.kind);
  const bool is_known = error_kind_name(kind) != "unknown";
  const std::size_t bytes = std::min<std::size_t>(state.text_bytes, state.text.size());
  return Error(is_known ? kind : ErrorKind::internal,
               fmt::format("rank {}: {}", rank, std::string_view(state.text.data(), bytes)));
}

// Which ranks are unlike rank 0: "rank 2", "ranks 1, 3"; empty: none.
template <typename Equal>
std::string unlike_first(const std::vector<Hello>& hellos, Equal&& equal) {
  std::vector<std::size_t> ranks;
  for (std::size_t rank = 1; rank < hellos.size(); ++rank) {
    if (!equal(hellos[rank], hellos[0])) ranks.push_back(rank);
  }
  if (ranks.empty()) return {};
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "));
}

// The protocol comes first: under another one, the other fields may mean something else.
Result<void> compare(const std::vector<Hello>& hellos) {
  std::string unlike =
      unlike_first(hellos, [](const Hello& a, const Hello& b) { return a.protocol == b.protocol; });
  if (!unlike.empty()) {
    return Error(ErrorKind::invalid_argument,
                 fmt::format("{}: a different version of libstreamer than on rank 0", unlike));
  }
  unlike = unlike_first(
      hellos, [](const Hello& a, const Hello& b) { return a.checkpoint == b.checkpoint; });
  if (!unlike.empty()) {
    return Error(ErrorKind::object_changed,
                 fmt::format("{}: a different checkpoint than on rank 0: other files, tensors or "
                             "versions of them; open the same one on all ranks",
                             unlike));
  }
  unlike = unlike_first(hellos, [](const Hello& a, const Hello& b) {
    return a.buffer_bytes == b.buffer_bytes && a.gap_bytes == b.gap_bytes && a.policy == b.policy &&
           a.on_device == b.on_device;
  });
  if (!unlike.empty()) {
    return Error(
        ErrorKind::invalid_argument,
        fmt::format("{}: {}, {}, {} or the kind of memory differs from rank 0's", unlike,
                    setting::kDistributedPartition.name(), setting::kDistributedBufferBytes.name(),
                    setting::kCoalesceGapBytes.name()));
  }
  return {};
}

}  // namespace

Result<void> agree(Communicator& communicator, const Error* mine,
                   std::chrono::milliseconds timeout) {
  State state;
  if (mine != nullptr) {
    const std::string line = mine->line();
    state.has_failed = 1;
    state.kind = static_cast<std::int32_t>(mine->kind());
    state.text_bytes = static_cast<std::uint32_t>(std::min(line.size(), state.text.size()));
    std::memcpy(state.text.data(), line.data(), state.text_bytes);
  }
  const auto states = gather(communicator, std::vector{state}, timeout);
  // A rank should see its own error, not that the others could not be told.
  if (mine != nullptr) return mine->copy();
  if (!states) return states.error().copy();
  for (std::uint32_t rank = 0; rank < states->size(); ++rank) {
    if ((*states)[rank].has_failed != 0) return from_rank(rank, (*states)[rank]);
  }
  return {};
}

Result<std::vector<std::vector<Need>>> gather_needs(Communicator& communicator,
                                                    const Checkpoint& checkpoint,
                                                    const Sha256Digest& digest,
                                                    const std::vector<Need>& mine,
                                                    const ScheduleOptions& options,
                                                    std::chrono::milliseconds timeout) {
  const std::string text = encode(mine);
  Hello hello;
  hello.checkpoint = digest;
  hello.needs = sha256(text);
  hello.needs_bytes = text.size();
  hello.buffer_bytes = options.buffer_bytes;
  hello.gap_bytes = options.gap_bytes;
  hello.policy = static_cast<std::uint32_t>(options.policy);
  hello.on_device = communicator.device() == kHost ? 0 : 1;
  const std::vector<Hello> hellos = TRY(gather(communicator, std::vector{hello}, timeout));
  TRY(compare(hellos));

  std::vector<std::vector<Need>> needs;
  const bool all_alike = std::all_of(
      hellos.begin(), hellos.end(), [&](const Hello& other) { return other.needs == hello.needs; });
  if (all_alike) {
    needs.push_back(mine);
    return needs;
  }
  // all_gather() takes as many bytes from every rank: the shorter texts are padded.
  std::uint64_t longest = 0;
  for (const Hello& other : hellos)
    longest = std::max(longest, other.needs_bytes);
  std::vector<char> padded(longest);
  std::copy(text.begin(), text.end(), padded.begin());
  const std::vector<char> all = TRY(gather(communicator, std::move(padded), timeout));
  for (std::size_t rank = 0; rank < hellos.size(); ++rank) {
    const std::string_view theirs(all.data() + rank * longest, hellos[rank].needs_bytes);
    needs.push_back(TRY(decode_needs(theirs, checkpoint)));
  }
  return needs;
}

}  // namespace streamer::core::inline distributed
