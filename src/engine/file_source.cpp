// SPDX-License-Identifier: Apache-2.0
#include "engine/file_source.hpp"

#include <algorithm>
#include <utility>

#include "engine/file_reader.hpp"

namespace streamer::core::inline engine {

FileSource::FileSource(SourceParts parts)
    : landing_(parts.landing),
      staging_(parts.staging),
      settings_(parts.settings),
      buffer_bytes_(parts.sizes.reader_buffer_bytes),
      chunks_(std::move(parts.chunks)),
      files_(parts.objects, landing_.plan(), settings_.get(setting::kFileIo), parts.cu_file,
             landing_.notes()),
      threads_(std::min(parts.threads, chunks_.size())) {}

void FileSource::run(std::uint32_t, ReaderCounters& mine) {
  FileReader(landing_, staging_, files_, chunks_, settings_, buffer_bytes_, mine).run();
}

}  // namespace streamer::core::inline engine
