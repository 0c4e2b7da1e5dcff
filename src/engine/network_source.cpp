// SPDX-License-Identifier: Apache-2.0
#include "engine/network_source.hpp"

#include <utility>

#include "base/operation.hpp"
#include "engine/network_reader.hpp"
#include "storage/cache/weight_cache.hpp"

namespace streamer::core::inline engine {

namespace {

// A load whose readers wait for their turn, or are done, leaves its connections to others.
class TakesConnections {
 public:
  TakesConnections(LoadShare& share, std::uint32_t most) : share_(share) {
    share_.joins_network(most);
  }
  TakesConnections(const TakesConnections&) = delete;
  TakesConnections& operator=(const TakesConnections&) = delete;
  ~TakesConnections() { share_.leaves_network(); }

 private:
  LoadShare& share_;
};

}  // namespace

Result<std::unique_ptr<Source>> NetworkSource::make(SourceParts parts) {
  const std::uint32_t threads = parts.chunks.empty() ? 0 : parts.sizes.network_readers;
  std::unique_ptr<NetworkSource> made(new NetworkSource(std::move(parts), threads));
  made->operation_ = TRY(made->landing_.open_operation());
  for (std::uint32_t i = 0; i < threads; ++i)
    made->wakes_.push_back(TRY(made->landing_.add_wake()));
  return std::unique_ptr<Source>(std::move(made));
}

NetworkSource::NetworkSource(SourceParts parts, std::uint32_t threads)
    : landing_(parts.landing),
      staging_(parts.staging),
      objects_(parts.objects),
      settings_(parts.settings),
      chunks_(std::move(parts.chunks)),
      threads_(threads),
      share_(parts.sizes.connections, threads, parts.sizes.network_buffer_bytes,
             parts.landing.share().process()),
      most_connections_(parts.sizes.connections.most),
      loops_(parts.loops) {}

void NetworkSource::run(std::uint32_t number, ReaderCounters& mine) {
  // Waits outside its own loop, such as for credentials, end with the load.
  const Work for_the_load("the load", operation_);
  const WorkScope scope(&for_the_load);
  const NetworkReader::Shared shared{.landing = landing_,
                                     .staging = staging_,
                                     .objects = objects_,
                                     .chunks = chunks_,
                                     .share = share_,
                                     .settings = settings_,
                                     .loops = loops_};
  const TakesConnections scope_of_connections(landing_.share(), most_connections_);
  NetworkReader(shared, *wakes_[number], number, mine).run();
}

void NetworkSource::add_to(LoadStats& stats) const {
  stats.buffer_bytes += stats.most_connections * share_.receive_buffer_bytes();
}

std::string NetworkSource::notes() const {
  std::string notes;
  for (const SourceObject& one : objects_) {
    const WeightCache* const cache = one.store->cache();
    const std::string trouble = cache == nullptr ? "" : cache->trouble();
    if (!trouble.empty() && notes.find(trouble) == std::string::npos) notes += trouble + "\n";
  }
  return notes;
}

}  // namespace streamer::core::inline engine
