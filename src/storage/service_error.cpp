// SPDX-License-Identifier: Apache-2.0
#include "storage/service_error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/clean_text.hpp"
#include "base/text.hpp"
#include "base/xml.hpp"

namespace streamer::core::inline storage {

namespace {

constexpr std::size_t kMostErrorText = 500;

constexpr std::string_view kPathStyleHint =
    "the store refuses path style; set s3_addressing to virtual";

constexpr std::array kS3DialectCodes = {
    CodeRow{"NoSuchKey", ErrorKind::not_found, "check the key"},
    CodeRow{"NoSuchBucket", ErrorKind::not_found, "check the bucket's name and the endpoint"},
    CodeRow{"NoSuchVersion", ErrorKind::not_found, "check s3_version_id"},
    CodeRow{"AccessDenied", ErrorKind::permission_denied,
            "the credentials may not read this, or it does not exist and they may not list the "
            "bucket; check s3:GetObject and s3:ListBucket"},
    CodeRow{"AllAccessDisabled", ErrorKind::permission_denied, "the bucket is disabled"},
    CodeRow{"AccountProblem", ErrorKind::permission_denied, "ask the store's operator"},
    CodeRow{"InvalidAccessKeyId", ErrorKind::permission_denied,
            "the store does not know this access key id; check which credentials are in use with "
            "streamer doctor"},
    CodeRow{"SignatureDoesNotMatch", ErrorKind::permission_denied,
            "the secret key does not belong to the access key id, or a proxy changed the request"},
    CodeRow{"InvalidObjectState", ErrorKind::permission_denied,
            "the object is archived; restore it first"},
    CodeRow{"RequestTimeTooSkewed", ErrorKind::clock_skew,
            "set this machine's clock (the store allows 15 minutes)"},
    CodeRow{"ExpiredToken", ErrorKind::credentials_expired, "get new credentials"},
    CodeRow{"TokenRefreshRequired", ErrorKind::credentials_expired, "get new credentials"},
    CodeRow{"InvalidToken", ErrorKind::credentials_expired,
            "the session token is not accepted; get new credentials"},
    CodeRow{"RequestExpired", ErrorKind::credentials_expired,
            "the request was signed too long ago"},
    CodeRow{"PreconditionFailed", ErrorKind::object_changed,
            "the object was replaced after it was opened; load it again"},
    CodeRow{"AuthorizationHeaderMalformed", ErrorKind::invalid_argument,
            "the region that requests are signed for is not the bucket's; set s3_region or "
            "AWS_REGION"},
    CodeRow{"PermanentRedirect", ErrorKind::invalid_argument,
            "the bucket is in another region; set s3_region or AWS_REGION"},
    CodeRow{"TemporaryRedirect", ErrorKind::invalid_argument,
            "the bucket is in another region; set s3_region or AWS_REGION"},
    CodeRow{"NotImplemented", ErrorKind::unsupported, "the store does not support this request"},
    CodeRow{"SecondLevelDomainForbidden", ErrorKind::invalid_argument, kPathStyleHint},
    CodeRow{"PathStyleDomainForbidden", ErrorKind::invalid_argument, kPathStyleHint},
    CodeRow{"VirtualHostDomainRequired", ErrorKind::invalid_argument, kPathStyleHint},
    CodeRow{"InvalidPathAccess", ErrorKind::invalid_argument, kPathStyleHint},
};

constexpr std::array<std::string_view, 9> kThrottlingCodes = {"SlowDown",
                                                              "ServiceUnavailable",
                                                              "Busy",
                                                              "RequestLimitExceeded",
                                                              "Throttling",
                                                              "ThrottlingException",
                                                              "KMS.ThrottlingException",
                                                              "RequestThrottled",
                                                              "BandwidthLimitExceeded"};
constexpr std::array<std::string_view, 5> kPassingCodes = {"InternalError", "InternalErrors",
                                                           "RequestTimeout", "OperationAborted",
                                                           "RequestTimeoutException"};
template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& codes, std::string_view code) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

ErrorKind kind_of_status(int status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorKind::permission_denied;
    case 404:
      return ErrorKind::not_found;
    case 412:
    case 416:
      return ErrorKind::object_changed;
    case 429:
    case 503:
      return ErrorKind::throttled;
    case 501:
      return ErrorKind::unsupported;
    default:
      return status >= 500 || status == 408 ? ErrorKind::io : ErrorKind::invalid_argument;
  }
}

// For answers without a known code.
std::string hint_of_status(int status, ErrorKind kind, const ServiceError& error) {
  if (status >= 300 && status < 400) {
    if (error.redirect_to.empty())
      return "this may be no store but a web server or a proxy; check the endpoint";
    return fmt::format(
        "it sends its readers to {}, which is not followed: if that is the store, it is the "
        "endpoint to set; if not, a proxy answered in its place",
        error.redirect_to);
  }
  if (status == 407)
    return "the proxy asks who this is; put a user name and a password into its URL (HTTPS_PROXY)";
  switch (kind) {
    case ErrorKind::not_found:
      return "check the path and the endpoint";
    case ErrorKind::permission_denied:
      return "check the credentials; streamer doctor says which are in use";
    case ErrorKind::throttled:
      return "the store asks its readers to slow down; use fewer connections, or try again later";
    case ErrorKind::unsupported:
      return "the store does not support this request";
    case ErrorKind::io:
      return "the store, or a proxy in front of it, failed; try again later";
    case ErrorKind::invalid_argument:
      return error.code.empty() ? "this may be no store of this kind; check the endpoint" : "";
    default:
      return "";
  }
}

const CodeRow* find_row(std::span<const CodeRow> rows, std::string_view code) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const CodeRow& row) { return row.code == code; });
  return found == rows.end() ? nullptr : &*found;
}

}  // namespace

ServiceError ServiceError::of(const HttpAnswer& answer) {
  ServiceError error;
  for (const char* const name : {"x-amz-request-id", "x-guploader-uploadid", "x-ms-request-id"}) {
    if (error.request_id.empty()) error.request_id = answer.head.header_or_empty(name);
  }
  if (const auto location = parse_url(answer.head.header_or_empty("location")))
    error.redirect_to = location->origin;
  // Azure's answers to HEAD give the code only there.
  error.code = answer.head.header_or_empty("x-ms-error-code");
  std::string_view body = answer.body;
  if (body.starts_with("\xEF\xBB\xBF")) body.remove_prefix(3);
  const auto root = read_xml(body);
  if (!root || root->name != "Error") return error;
  if (error.code.empty()) error.code = root->text_of("Code");
  // Cleaned while it is complete: a truncated secret would not be recognised.
  error.message = clean_text(root->text_of("Message")).substr(0, kMostErrorText);
  error.region = root->text_of("Region");
  if (error.request_id.empty()) error.request_id = root->text_of("RequestId");
  return error;
}

Error service_failure(const HttpRequest& request, int status, const ServiceError& error,
                      std::span<const CodeRow> own) {
  ErrorFields fields;
  fields.kind = kind_of_status(status);
  std::string hint;
  if (const CodeRow* const row = find_row(own, error.code)) {
    fields.kind = row->kind;
    hint = row->hint;
  }
  if (hint.empty()) hint = hint_of_status(status, fields.kind, error);
  fields.http_status = status;
  fields.service_code = error.code;
  fields.request_id = error.request_id;
  fields.host = request.host();
  // Azure's messages have more lines, with the request's id and time.
  const std::string_view message =
      std::string_view(error.message).substr(0, error.message.find('\n'));
  fields.message = fmt::format(
      "{} answered {}{}{}{}{}", fields.host, status, error.code.empty() ? "" : " " + error.code,
      message.empty() ? "" : fmt::format(": {}", trim(message)),
      error.request_id.empty() ? "" : " (request id " + error.request_id + ")",
      hint.empty() ? "" : fmt::format("; {}", hint));
  return Error(std::move(fields));
}

Error no_checksums(Error error, std::string_view asked) {
  // The object itself was read from the same store, so what it does not support is the question.
  const int status = error.fields().http_status;
  if (status != 400 && status != 405 && status != 501) return error;
  ErrorFields fields = error.fields();
  fields.kind = ErrorKind::unsupported;
  fields.message = fmt::format(
      "this store keeps no checksums that can be asked for ({} answered {} to "
      "{}); set verify to the path or URI of a manifest of SHA-256 sums, or to off",
      fields.host, status, asked);
  return Error(std::move(fields));
}

std::span<const CodeRow> s3_dialect_codes() noexcept {
  return kS3DialectCodes;
}

Again again_after_s3_code(std::string_view code) noexcept {
  if (is_one_of(kThrottlingCodes, code)) return Again::throttled;
  return is_one_of(kPassingCodes, code) ? Again::soon : Again::never;
}

}  // namespace streamer::core::inline storage
