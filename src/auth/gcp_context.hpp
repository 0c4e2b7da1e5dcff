// SPDX-License-Identifier: Apache-2.0
#pragma once
// Application Default Credentials of Google: one token, from the first place that has something.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "auth/bearer_token.hpp"

namespace streamer::core {

struct GcpContext : AuthContext {
  std::string credential_file;  // set in code or by a variable of ours; empty: look for one
};

// What is asked for: reading objects, and nothing else.
inline constexpr std::string_view kGoogleReadScope =
    "https://www.googleapis.com/auth/devstorage.read_only";

// A file of credentials, of whichever type.
struct GoogleFile {
  // Of an external account: where the token of the other side is.
  struct Source {
    std::string file;
    std::string url;
    std::vector<HttpHeader> headers;
    std::string format;  // "text" or "json"
    std::string field;   // of the JSON
    std::string command;
    std::string output_file;
    std::uint64_t timeout_ms = 30'000;
    std::string environment_id;  // "aws1"
    bool wants_certificate = false;
  };

  std::string path;  // of the file itself, for people
  std::string type;
  std::string client_email;
  std::string private_key_id;
  Secret private_key;
  std::string token_uri;
  std::string client_id;
  Secret client_secret;
  Secret refresh_token;
  std::string quota_project;
  std::string audience;
  std::string subject_token_type;
  std::string token_url;
  std::string impersonation_url;
  std::uint64_t impersonation_lifetime_s = 3600;
  std::vector<std::string> delegates;
  std::string workforce_project;
  Source source;
  std::shared_ptr<const GoogleFile> source_credentials;  // whom the impersonating one starts as
};

// Fails on a file that is not there, is no JSON or lacks what its type needs.
Result<GoogleFile> read_google_file(const std::string& path);

// The token that a file's owner gets, by the file's type. All of them block.
Result<BearerToken> token_from_google_file(const GcpContext& context, const GoogleFile& file,
                                           std::string_view scope);
Result<BearerToken> token_from_service_account(const GcpContext& context, const GoogleFile& file,
                                               std::string_view scope);
Result<BearerToken> token_from_external_account(const GcpContext& context, const GoogleFile& file,
                                                std::string_view scope);
// Trades a token for one of the service account that url names.
Result<BearerToken> impersonate(const GcpContext& context, const std::string& url,
                                const std::vector<std::string>& delegates, std::uint64_t lifetime_s,
                                const BearerToken& base, std::string_view scope);

TokenAnswer token_from_google_metadata(const GcpContext& context, std::string& why_not);

// The context's file, GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, the metadata server. A
// file that is named and does not work is an error; permission_denied if there is nothing at all.
Result<BearerToken> find_google_token(const GcpContext& context);

}  // namespace streamer::core
