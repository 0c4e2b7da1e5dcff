// SPDX-License-Identifier: Apache-2.0
#include "gpu/cu_file.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/types.h>

#include <cerrno>
#include <map>
#include <system_error>

#include "base/guarded.hpp"

namespace streamer::core::inline gpu {

namespace {

constexpr int kTypeFileDescriptor = 1;

Error failure(const char* call, int code) {
  return Error(ErrorKind::device, fmt::format("{} failed with code {}", call, code));
}

}  // namespace

struct CuFile::Calls {
  // libcufile's ABI, as far as it is used here: the structs and the values of cufile.h, spelled out
  // so that no header of its own is needed.
  struct Status {
    int code;  // 0: success; else CUfileOpError
    int cuda_code;
  };

  struct Description {
    int type;
    union {
      int fd;
      void* handle;
    } handle;
    const void* operations;
  };

  Status (*driver_open)() = nullptr;
  Status (*handle_register)(void** handle, Description* description) = nullptr;
  void (*handle_deregister)(void* handle) = nullptr;
  ssize_t (*read)(void* handle, void* to, std::size_t size, off_t offset,
                  off_t to_offset) = nullptr;

  template <typename Function>
  static Result<void> find(void* library, const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(::dlsym(library, name));
    if (function != nullptr) return {};
    return Error(ErrorKind::device, fmt::format("the cuFile library has no {}", name));
  }
};

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
    TRY(Calls::find(opened, "cuFileDriverOpen", calls->driver_open));
    TRY(Calls::find(opened, "cuFileHandleRegister", calls->handle_register));
    TRY(Calls::find(opened, "cuFileHandleDeregister", calls->handle_deregister));
    TRY(Calls::find(opened, "cuFileRead", calls->read));
    const Calls::Status status = calls->driver_open();
    if (status.code != 0) return failure("cuFileDriverOpen", status.code);
    const auto* const made = new CuFile(std::move(calls));
    loaded.emplace(library, made);
    return made;
  });
}

Result<std::unique_ptr<CuFile::File>> CuFile::open(int fd) const {
  Calls::Description description{};
  description.type = kTypeFileDescriptor;
  description.handle.fd = fd;
  void* handle = nullptr;
  const Calls::Status status = calls_->handle_register(&handle, &description);
  if (status.code != 0) return failure("cuFileHandleRegister", status.code);
  return std::make_unique<File>(*this, handle);
}

CuFile::File::~File() {
  library_.calls_->handle_deregister(handle_);
}

Result<void> CuFile::File::read(void* to, std::uint64_t offset, std::uint64_t size) const {
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t got = library_.calls_->read(handle_, static_cast<std::byte*>(to) + done,
                                              size - done, static_cast<off_t>(offset + done), 0);
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
