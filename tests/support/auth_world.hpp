// SPDX-License-Identifier: Apache-2.0
#pragma once
// An environment of its own, a home of its own, and a server that gives out credentials.

#include <fmt/format.h>

#include <atomic>
#include <map>
#include <string>

#include "auth/auth_context.hpp"
#include "support/raw_checkpoint.hpp"
#include "support/safetensors_text.hpp"
#include "support/wire_server.hpp"

namespace streamer::test {

inline std::string answer(int status, const std::string& body, const std::string& headers = "") {
  return fmt::format("HTTP/1.1 {} X\r\n{}Content-Length: {}\r\n\r\n{}", status, headers,
                     body.size(), body);
}

// A value of a form that was posted; empty if it is not there.
inline std::string form_value(const WireRequest& request, const std::string& name) {
  const std::string body = "&" + request.body;
  const std::size_t at = body.find("&" + name + "=");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + name.size() + 2;
  return *core::percent_decode(body.substr(begin, body.find('&', begin) - begin));
}

template <typename Context>
class AuthWorld {
 public:
  explicit AuthWorld(WireServer::Handler handler = {})
      : server([this, handler = std::move(handler)](const WireRequest& request, Wire& wire) {
          ++asked;
          handler(request, wire);
        }) {
    variables["HOME"] = home.path().string();
    context.environment = [this](const char* name) -> std::optional<std::string> {
      const auto found = variables.find(name);
      if (found == variables.end() || found->second.empty()) return std::nullopt;
      return found->second;
    };
    context.http = &http;
  }

  std::string write(const std::string& name, const std::string& text) const {
    return write_text(home.path() / name, text).string();
  }

  std::map<std::string, std::string> variables;
  Context context;
  std::atomic<int> asked{0};

 private:
  core::HttpClient http;
  TemporaryFolder home;

 public:
  WireServer server;
};

}  // namespace streamer::test
