// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one place through which every text leaves the library: errors, the log, the doctor's steps
// and the notes of a load. Secrets are removed, whoever wrote the text: the library, libcurl or a
// server.

#include <string>
#include <string_view>

namespace streamer::core::inline base {

// Returns text with *** in the place of
//  - every secret that was hidden (below), even if only its first 12 bytes are there;
//  - what precedes the @ and what follows the ? of a URL (in s3://, gs:// and az:// a ? is part of
//    the key);
//  - values of names that stand for secrets ("sig=", "AccountKey=", "Authorization:", ...), bearer
//    tokens, JSON web tokens and private keys in PEM;
// and with \0 in the place of a NUL, at which those who read it would stop.
// Idempotent; linear in the text's length. Thread-safe.
[[nodiscard]] std::string clean_text(std::string_view text);

// From now on clean_text() removes this secret, also in base64 and percent-encoded. If it looks
// like a query or a connection string, the values of its secret parts are removed. Texts of fewer
// than 8 bytes are ignored. Only hashes are kept. Thread-safe.
void hide(std::string_view secret);

// Hides the value of a setting or of an environment variable if its name says that it is secret,
// and the password in it if it is the URL of a proxy or of an endpoint.
void hide_value_of(std::string_view name, std::string_view value);

// For a text known to be a URL, with or without a scheme: removes user name, password, query and
// fragment.
[[nodiscard]] std::string url_without_secrets(std::string_view url);

}  // namespace streamer::core::inline base
