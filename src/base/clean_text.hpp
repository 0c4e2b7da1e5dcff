// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one place through which every text leaves the library: errors, the log, the doctor's steps
// and the notes of a load. What is secret is cut, whoever wrote the text: we, libcurl or a server.

#include <string>
#include <string_view>

namespace streamer::core {

// text with *** in the place of
//  - every secret that was hidden (below), also if only its first 12 bytes are there;
//  - what stands before the @ and behind the ? of a URL (of s3://, gs:// and az:// a ? is part of
//    the key);
//  - values of names that stand for secrets ("sig=", "AccountKey=", "Authorization:", ...), bearer
//    tokens, JSON web tokens and private keys in PEM.
// Idempotent; linear in the text's length. Thread-safe.
[[nodiscard]] std::string clean_text(std::string_view text);

// From now on clean_text() cuts this secret, in base64 and percent-encoded too. Of what looks like
// a query or a connection string that is the values of its secret parts. Texts of less than 8 bytes
// mean nothing and are left alone. Only hashes are kept. Thread-safe.
void hide(std::string_view secret);

// Hides the value of a setting or of an environment variable if its name says that it is secret,
// and the password in it if it is the URL of a proxy or of an endpoint.
void hide_value_of(std::string_view name, std::string_view value);

// Of something that is known to be a URL, with a scheme or without: no user name, no password, no
// query and no fragment.
[[nodiscard]] std::string url_without_secrets(std::string_view url);

}  // namespace streamer::core
