// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a file of this machine has the bytes of an object, without fetching them.

#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "storage/store.hpp"

namespace streamer::core {

// Every byte of an open file, in order; false if it cannot be read. Fails only when the thread's
// current work is over.
Result<bool> read_whole(int fd, const std::function<void(std::string_view)>& take);

// Its bytes are read and summed up, and must give what is known of the object's:
// - what was noted with the file when it was pulled (note_origin()), if its ETag still is the
//   object's,
// - else the ETag, where that is the MD5 of the bytes, as of S3 and Google for objects that were
// put
//   in one piece,
// - else the store's own checksum, if it keeps one, which costs a request.
// Without an ETag that tells versions apart, and with any doubt, it is not the same. Fails only
// when the thread's current work is over.
Result<bool> is_same_file(int folder, const std::string& name, Store& store, const Entry& entry);

// With a file that was just written: what object its bytes are of, and what they sum up to. In the
// extended attribute user.libstreamer, which goes where the file goes; a file system without
// those notes nothing.
void note_origin(int fd, Store& store, const Object& object, std::uint64_t crc64nvme);

}  // namespace streamer::core
