// SPDX-License-Identifier: Apache-2.0
#include "storage/uri.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.hpp"
#include "base/text.hpp"
#include "http/request.hpp"
#include "storage/cloud_hosts.hpp"
#include "storage/s3/bucket.hpp"

namespace streamer::core::inline storage {

namespace {

// The limit that S3, Google Cloud Storage and Azure Blob share.
constexpr std::size_t kLongestKeyBytes = 1024;

Error bad_uri(std::string_view text, std::string_view why) {
  std::string shown;
  for (const char c : text.substr(0, 500)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return Error(ErrorKind::invalid_argument,
               fmt::format("\"{}\" is not a usable URI: {}", shown, why));
}

bool is_scheme_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
}

// "S3" of "S3://bucket/key" in lower case; empty if text is a plain path (RFC 3986 3.1).
std::string scheme_of(std::string_view text) {
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos || colon == 0) return {};
  const std::string scheme = to_lower(text.substr(0, colon));
  if (!std::all_of(scheme.begin(), scheme.end(), is_scheme_character)) return {};
  return scheme;
}

Error no_bucket(std::string_view text) {
  return bad_uri(text, "it names no bucket; write SCHEME://BUCKET/KEY");
}

Result<void> check_key(std::string_view text, std::string_view key) {
  if (key.size() > kLongestKeyBytes) return bad_uri(text, "its key is longer than 1024 bytes");
  if (!is_valid_utf8(key)) return bad_uri(text, "its key is not UTF-8");
  return {};
}

// A URL without the part before an @, and without query and fragment.
std::string_view without_secrets(std::string_view url) {
  const std::size_t host = url.find("://") + 3;
  const std::string_view authority = url.substr(host, url.find_first_of("/?#", host) - host);
  if (authority.find('@') != std::string_view::npos) return url.substr(0, host);
  return url.substr(0, url.find_first_of("?#"));
}

// abfss://container@account.dfs.core.windows.net/path, and the same with wasbs and a Blob host.
bool is_hadoop_scheme(std::string_view scheme) {
  return scheme == "abfs" || scheme == "abfss" || scheme == "wasb" || scheme == "wasbs";
}

std::string_view usual_scheme(std::string_view scheme) {
  if (scheme == "s3a" || scheme == "s3n") return "s3";
  if (scheme == "gcs") return "gs";
  if (scheme == "azure" || scheme == "adl" || is_hadoop_scheme(scheme)) return "az";
  return scheme;
}

// What to write instead of a path that a URI may have been meant by, such as "s3:/bucket/key";
// empty if none was.
std::string_view uri_for(std::string_view path) {
  const std::string scheme = to_lower(path.substr(0, path.find(':')));
  if (scheme.size() == path.size()) return {};
  const std::string_view usual = usual_scheme(scheme);
  if (usual == "file") return "file:///path, or the path alone";
  if (usual == "s3") return "s3://bucket/key";
  if (usual == "gs") return "gs://bucket/object";
  if (usual == "az") return "az://container/blob";
  if (usual == "hf") return "hf://organisation/model";
  if (usual == "https" || usual == "http") return "https://host/path";
  return {};
}

}  // namespace

// Builds URIs; it may set all of their parts.
class UriParser {
 public:
  // The literal form of a store's objects: everything after the first slash is the key.
  static Result<Uri> object(std::string_view text, std::string_view scheme, std::string_view rest) {
    const std::size_t access_point = usual_scheme(scheme) == "s3" ? access_point_bytes(rest) : 0;
    if (access_point != 0) return of_access_point(text, rest, access_point);
    const std::string_view bucket = rest.substr(0, rest.find('/'));
    if (bucket.empty()) return no_bucket(text);
    const std::string_view key = rest.substr(std::min(bucket.size() + 1, rest.size()));
    // hf://model@revision: a few old models have no organisation.
    const std::size_t at = scheme == "hf" ? std::string_view::npos : bucket.find('@');
    if (at != std::string_view::npos && is_hadoop_scheme(scheme))
      return hadoop(text, scheme, bucket.substr(0, at), bucket.substr(at + 1), key);
    // Text before an @ may be a password: it is not shown.
    if (at != std::string_view::npos)
      return bad_uri(text.substr(0, scheme.size() + 3),
                     "a user name or password does not belong in it; give credentials in the "
                     "settings or the environment");
    // Other ARNs are the store's to explain.
    const bool is_arn = scheme.starts_with("s3") && bucket.starts_with("arn:");
    if (bucket.find(':') != std::string_view::npos && !is_arn)
      return bad_uri(text,
                     "a bucket has no port; write SCHEME://BUCKET/KEY, and put the server into the "
                     "setting s3_endpoint, gcs_endpoint or azure_endpoint");
    TRY(check_key(text, key));
    return Uri(usual_scheme(scheme), std::string(rest));
  }

  // https:// and http://: an object of a cloud, if the host is one's, else of a plain server.
  static Result<Uri> url(std::string_view text) {
    const std::string_view shown = without_secrets(text);
    const auto parsed = parse_url(text);
    if (!parsed) return bad_uri(shown, parsed.error().message());
    const CloudObject object = TRY(cloud_object(*parsed));
    if (object.scheme.empty()) return plain(*parsed);
    auto path = percent_decode(object.encoded_path);
    if (!path || path->find('\0') != std::string::npos)
      return bad_uri(shown, "% must be followed by two hexadecimal digits, and not by 00");
    if (path->empty() || path->front() == '/') return no_bucket(shown);
    Uri uri(object.scheme, *std::move(path));
    TRY(check_key(shown, uri.key()));
    uri.host_ = object.host;
    uri.query_ = Secret(parsed->query);
    uri.root_ = parsed->origin + "/" + object.shown_root;
    if (object.host_names_bucket) uri.root_covers_ = uri.bucket().size() + 1;
    uri.is_encoded_ = true;
    uri.write_text();
    return uri;
  }

 private:
  // s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/key: the ARN, of `bytes` bytes, is the
  // bucket, whose name has no slash.
  static Result<Uri> of_access_point(std::string_view text, std::string_view rest,
                                     std::size_t bytes) {
    const std::string_view key = rest.substr(std::min(bytes + 1, rest.size()));
    TRY(check_key(text, key));
    std::string arn(rest.substr(0, bytes));
    std::replace(arn.begin(), arn.end(), '/', ':');
    Uri uri("s3", bytes == rest.size() ? arn : fmt::format("{}/{}", arn, key));
    uri.root_ = fmt::format("s3://{}/", rest.substr(0, bytes));
    uri.root_covers_ = arn.size() + 1;
    uri.write_text();
    return uri;
  }

  static Result<Uri> hadoop(std::string_view text, std::string_view scheme,
                            std::string_view container, std::string_view host,
                            std::string_view key) {
    const std::string blob_host = azure_blob_host(host);
    if (container.empty()) return no_bucket(text);
    if (blob_host.empty())
      return bad_uri(text, "what follows the @ is not a host of Azure storage");
    TRY(check_key(text, key));
    Uri uri("az", fmt::format("{}/{}", container, key));
    uri.host_ = blob_host;
    uri.root_ = fmt::format("{}://{}@{}/", scheme, container, host);
    uri.root_covers_ = container.size() + 1;
    uri.write_text();
    return uri;
  }

  static Uri plain(const HttpUrl& url) {
    const std::size_t mark = url.origin.find("://");
    Uri uri(url.origin.substr(0, mark), url.origin.substr(mark + 3) + url.path);
    uri.query_ = Secret(url.query);
    return uri;
  }
};

Uri::Uri(std::string_view scheme, std::string path) : scheme_(scheme), path_(std::move(path)) {
  if (scheme_ != "file") root_ = scheme_ + "://";
  write_text();
}

void Uri::write_text() {
  const std::string_view rest =
      std::string_view(path_).substr(std::min(root_covers_, path_.size()));
  text_ = root_ + (is_encoded_ ? percent_encode(rest, "/") : std::string(rest));
}

Uri Uri::with_path(std::string path) const {
  Uri other = *this;
  other.path_ = std::move(path);
  other.write_text();
  return other;
}

std::string_view Uri::bucket() const noexcept {
  return std::string_view(path_).substr(0, path_.find('/'));
}

std::string_view Uri::key() const noexcept {
  const std::size_t slash = path_.find('/');
  if (slash == std::string::npos) return {};
  return std::string_view(path_).substr(slash + 1);
}

std::string_view Uri::last_component() const noexcept {
  return std::string_view(path_).substr(path_.rfind('/') + 1);
}

Result<Uri> parse_uri(std::string_view text) {
  if (text.empty()) return bad_uri(text, "it is empty; write a path or SCHEME://BUCKET/KEY");
  if (text.find('\0') != std::string_view::npos) return bad_uri(text, "it holds a NUL byte");
  const std::string scheme = scheme_of(text);
  // A path of the file system is bytes: everything it allows is allowed here.
  if (scheme.empty()) {
    if (const std::string_view meant = uri_for(text); !meant.empty())
      return bad_uri(text, fmt::format("write {}", meant));
    return Uri("file", std::string(text));
  }
  const bool has_control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  if (has_control) return bad_uri(text, "it holds a control character");
  const std::string_view rest = text.substr(scheme.size() + 3);
  if (scheme == "https" || scheme == "http") return UriParser::url(text);
  if (scheme != "file") return UriParser::object(text, scheme, rest);
  if (!rest.starts_with("/"))
    return bad_uri(text, "a file of another machine cannot be read; write file:///path");
  auto path = percent_decode(rest);
  if (!path || path->find('\0') != std::string::npos)
    return bad_uri(text, "% must be followed by two hexadecimal digits, and not by 00");
  return Uri("file", *std::move(path));
}

Uri child(const Uri& uri, std::string_view name) {
  std::string path = uri.path();
  if (path.empty() || path.back() != '/') path += '/';
  // The path of a plain URL is what is sent.
  const bool is_url = uri.scheme() == "https" || uri.scheme() == "http";
  path += is_url ? percent_encode(name, "/") : std::string(name);
  return uri.with_path(std::move(path));
}

Uri folder_of(const Uri& uri) {
  const std::size_t slash = uri.path().rfind('/');
  if (slash != std::string::npos) return uri.with_path(uri.path().substr(0, slash + 1));
  return uri.scheme() == "file" ? uri.with_path(".") : uri;
}

}  // namespace streamer::core::inline storage
