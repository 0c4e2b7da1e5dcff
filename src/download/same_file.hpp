// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a local file has the bytes of an object, without fetching them.

#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "storage/store.hpp"

namespace streamer::core::inline download {

// Passes on every byte of an open file, in order; false if it cannot be read. Fails only when the
// thread's current work is over.
Result<bool> read_whole(int fd, const std::function<void(std::string_view)>& take);

// Reads its bytes; their checksum must match one of the object's:
// - the one noted with the file when it was pulled (note_origin()), if its ETag is still the
//   object's,
// - or else the ETag, if that is the MD5 of the bytes, as with S3 and Google for objects that were
//   uploaded in one piece,
// - or else the store's own checksum, if it keeps one, which costs a request.
// Without an ETag that tells versions apart, or in any doubt, it is not the same. Fails only when
// the thread's current work is over.
Result<bool> is_same_file(int folder, const std::string& name, Store& store, const Entry& entry);

// Notes with a file that was just written which object its bytes are from, and their checksum. In
// the extended attribute user.libstreamer, which moves with the file; on a file system without
// extended attributes nothing is noted.
void note_origin(int fd, Store& store, const Object& object, std::uint64_t crc64nvme);

}  // namespace streamer::core::inline download
