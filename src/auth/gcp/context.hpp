// SPDX-License-Identifier: Apache-2.0
#pragma once
// Application Default Credentials of Google: one token, from the first source that is configured.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "auth/bearer_token.hpp"

namespace streamer::core::inline auth {

struct GcpContext : AuthContext {
  std::string credential_file;  // set in code or by a variable of ours; empty: look for one
};

// What is asked for: reading objects, and nothing else.
inline constexpr std::string_view kGoogleReadScope =
    "https://www.googleapis.com/auth/devstorage.read_only";

// Google's cloud is one of several universes that run its software, each with its own domain.
inline constexpr std::string_view kGooglesUniverse = "googleapis.com";

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
    std::string region_url;
    std::string verification_url;   // with "{region}" in it
    std::string session_token_url;  // of version 2 of the instance metadata service
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
  std::string universe{kGooglesUniverse};  // whose hosts the credentials are for
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
// What is exchanged for a token if credential_source is AWS.
Result<Secret> subject_token_from_aws(const GcpContext& context, const GoogleFile& file);
// Fails if a secret of the file would go to a host of Google's that is of another universe.
Result<void> check_universe(const GoogleFile& file, std::string_view what, const HttpUrl& url);
// Exchanges a token for one of the service account that the file impersonates.
Result<BearerToken> impersonate(const GcpContext& context, const GoogleFile& file,
                                const BearerToken& base, std::string_view scope);

TokenAnswer token_from_google_metadata(const GcpContext& context, std::string& why_not);

// The universe whose storage is to be asked: of GOOGLE_CLOUD_UNIVERSE_DOMAIN, else of the file of
// credentials; Google's own if neither says. Fails on what cannot be a domain.
Result<std::string> find_google_universe(const GcpContext& context);

// The context's file, GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, the metadata server. A
// file that is named and does not work is an error; permission_denied if there is nothing at all.
Result<BearerToken> find_google_token(const GcpContext& context);

}  // namespace streamer::core::inline auth
