// SPDX-License-Identifier: Apache-2.0
#include "gpu/cu_file.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <map>
#include <system_error>

#include "base/guarded.hpp"
#include "gpu/cu_file_abi.hpp"

namespace streamer::core::inline gpu {

namespace {

template <typename Function>
Result<void> find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
  if (function != nullptr) return {};
  return Error(ErrorKind::device, fmt::format("the cuFile library has no {}", name));
}

Error failure(const char* call, int code) {
  return Error(ErrorKind::device, fmt::format("{} failed with code {}", call, code));
}

}  // namespace

struct CuFile::Calls : cu_file_abi::Calls {};

CuFile::CuFile(std::unique_ptr<Calls> calls) : calls_(std::move(calls)) {}

Result<const CuFile*> CuFile::get(const std::string& library) {
  using Loaded = std::map<std::string, const CuFile*, std::less<>>;
  static auto* const all = new Guarded<Loaded>;
  return all->with([&](Loaded& loaded) -> Result<const CuFile*> {
    const auto found = loaded.find(library);
    if (found != loaded.end()) return found->second;
    void* const opened = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) {
      return Error(ErrorKind::device,
                   fmt::format("GPUDirect Storage needs {}: {}", library, ::dlerror()));
    }
    auto calls = std::make_unique<Calls>();
#define CU_FILE_CALL(result, name, ...) TRY(find(opened, #name, calls->name));
#include "gpu/cu_file_calls.inc"
#undef CU_FILE_CALL
    const cu_file_abi::Status status = calls->cuFileDriverOpen();
    if (status.code != 0) return failure("cuFileDriverOpen", status.code);
    const auto* const made = new CuFile(std::move(calls));
    loaded.emplace(library, made);
    return made;
  });
}

Result<std::unique_ptr<CuFile::File>> CuFile::open(int fd) const {
  cu_file_abi::Description description{};
  description.type = cu_file_abi::kTypeFileDescriptor;
  description.handle.fd = fd;
  void* handle = nullptr;
  const cu_file_abi::Status status = calls_->cuFileHandleRegister(&handle, &description);
  if (status.code != 0) return failure("cuFileHandleRegister", status.code);
  return std::make_unique<File>(*this, handle);
}

CuFile::File::~File() {
  library_.calls_->cuFileHandleDeregister(handle_);
}

Result<void> CuFile::File::read(void* to, std::uint64_t offset, std::uint64_t size) const {
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t got =
        library_.calls_->cuFileRead(handle_, static_cast<std::byte*>(to) + done, size - done,
                                    static_cast<off_t>(offset + done), 0);
    // -1: errno has it; below that, a code of cuFile's own.
    if (got == -1 && errno == EINTR) continue;
    if (got == -1) {
      return Error(ErrorKind::device,
                   fmt::format("cuFileRead failed: {}", std::generic_category().message(errno)));
    }
    if (got < 0) return failure("cuFileRead", static_cast<int>(-got));
    if (got == 0) return Error(ErrorKind::device, "cuFileRead found the file's end too early");
    done += static_cast<std::uint64_t>(got);
  }
  return {};
}

}  // namespace streamer::core::inline gpu
