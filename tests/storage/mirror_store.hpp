// SPDX-License-Identifier: Apache-2.0
#pragma once
// The smallest backend that there can be, whole; docs/adding-a-store.md shows it.

#include "base/text.hpp"
#include "storage/remote_store.hpp"
#include "storage/s3/dialect.hpp"

namespace streamer::core {

// A web server that asks for no credentials and has an index.txt in every folder: "SIZE NAME".
class MirrorStore final : public RemoteStore {
 public:
  MirrorStore(std::string origin, RemoteLimits limits, std::shared_ptr<HttpClient> http)
      : RemoteStore(limits, std::move(http), {}), origin_(std::move(origin)) {}

  Result<SignedRequest> make_range_request(const Uri& uri, ByteRange range,
                                           const std::string& etag) override {
    SignedRequest request = get(uri.path());
    add_range_headers(request.http.headers, range, etag);
    return request;
  }

 protected:
  Result<SignedRequest> page_request(const Uri& folder, ListDepth, std::uint64_t,
                                     const std::string&) override {
    return get(folder.path() + "index.txt");
  }

  Result<std::optional<Page>> read_page(const Uri& folder, const HttpAnswer& answer) override {
    Page page;
    for (std::string_view rest = answer.body; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      const std::size_t space = std::min(line.find(' '), line.size());
      const auto size = parse_unsigned(line.substr(0, space));
      if (!size || space == line.size()) return Error(ErrorKind::corrupt, "a line is not an entry");
      page.entries.push_back({child(folder, line.substr(space + 1)), *size, false, {}});
    }
    return std::optional(std::move(page));
  }

  Verdict judge_answer(const Uri&, const SignedRequest& request,
                       const HttpAnswer& answer) override {
    Verdict verdict = failure(request, answer, ServiceError::of(answer), {});
    verdict.again = again_after_status(answer.head.status);
    return verdict;
  }

  Result<RemoteWay> way_to(const Uri&) override { return RemoteWay{origin_, "its setting", {}}; }
  Result<std::string> describe_credentials(const Uri&) override { return std::string("none"); }

 private:
  SignedRequest get(std::string_view path) const {
    SignedRequest request;
    request.http.origin = origin_;
    request.http.path = "/" + percent_encode(path, "/");
    request.http.route = route_to(origin_);
    return request;
  }

  const std::string origin_;
};

}  // namespace streamer::core
