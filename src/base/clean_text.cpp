// SPDX-License-Identifier: Apache-2.0
#include "base/clean_text.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace streamer::core::inline base {

namespace {

constexpr std::string_view kCut = "***";
constexpr std::string_view kBlanks = " \t\r\n\v\f";
// Ends a URL in a text.
constexpr std::string_view kUrlEnd = " \t\r\n\v\f\"'`<>";
constexpr std::size_t kLeastSecretBytes = 8;
// This much of a secret's start counts as the secret: servers truncate their texts.
constexpr std::size_t kAnchorBytes = 12;
// Parts of queries come and go with every signed URL; other secrets are few.
constexpr std::size_t kMostNeedles = 16'384;
// Longer secrets are not looked for in base64.
constexpr std::size_t kMostEncodedBytes = 512;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter_or_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// What tokens and keys are made of.
bool is_token_character(char c) {
  return is_letter_or_digit(c) || std::string_view("-_.~+/=%").find(c) != std::string_view::npos;
}

bool is_name_character(char c) {
  return is_letter_or_digit(c) || c == '_' || c == '-';
}

struct Span {
  std::size_t begin;
  std::size_t end;
};
using Spans = std::vector<Span>;

std::size_t end_of(std::string_view text, std::size_t from, std::string_view stops) {
  return std::min(text.find_first_of(stops, from), text.size());
}

// ---- Hidden secrets ----

// Hashes of a secret, so that the secret itself is not kept here.
struct Needle {
  std::size_t anchor_bytes;
  std::size_t anchor_hash;
  std::size_t bytes;
  std::size_t hash;
};

std::size_t hash_of(std::string_view text) {
  return std::hash<std::string_view>()(text);
}

std::uint32_t first_bytes(const char* text) {
  std::uint32_t key = 0;
  std::memcpy(&key, text, sizeof key);
  return key;
}

class Hidden {
 public:
  void add(std::string_view secret, bool is_whole) {
    if (secret.size() < sizeof(std::uint32_t)) return;
    const std::size_t anchor = is_whole ? secret.size() : std::min(secret.size(), kAnchorBytes);
    const Needle needle{anchor, hash_of(secret.substr(0, anchor)), secret.size(), hash_of(secret)};
    const std::uint32_t key = first_bytes(secret.data());
    const std::vector<Needle>& known_ones = by_start_[key];
    const bool is_known =
        std::any_of(known_ones.begin(), known_ones.end(), [&](const Needle& known) {
          return known.hash == needle.hash && known.anchor_bytes <= needle.anchor_bytes;
        });
    if (is_known) return;
    if (order_.size() == kMostNeedles) forget_oldest();
    by_start_[key].push_back(needle);
    order_.push_back(key);
  }

  void find(std::string_view text, Spans& spans) const {
    if (by_start_.empty()) return;
    for (std::size_t at = 0; at + sizeof(std::uint32_t) <= text.size();) {
      const std::size_t end = match(text, at);
      if (end != at) spans.push_back({at, end});
      at = std::max(end, at + 1);
    }
  }

 private:
  // The end of the secret that begins at `at`; `at` if none does.
  std::size_t match(std::string_view text, std::size_t at) const {
    const auto found = by_start_.find(first_bytes(text.data() + at));
    if (found == by_start_.end()) return at;
    std::size_t end = at;
    for (const Needle& needle : found->second) {
      const std::string_view rest = text.substr(at);
      if (rest.size() < needle.anchor_bytes) continue;
      if (hash_of(rest.substr(0, needle.anchor_bytes)) != needle.anchor_hash) continue;
      const bool is_whole =
          rest.size() >= needle.bytes && hash_of(rest.substr(0, needle.bytes)) == needle.hash;
      std::size_t size = is_whole ? needle.bytes : needle.anchor_bytes;
      while (!is_whole && size < rest.size() && is_token_character(rest[size]))
        ++size;
      end = std::max(end, at + size);
    }
    return end;
  }

  void forget_oldest() {
    const std::uint32_t key = order_.front();
    order_.pop_front();
    std::vector<Needle>& needles = by_start_[key];
    needles.erase(needles.begin());
    if (needles.empty()) by_start_.erase(key);
  }

  std::unordered_map<std::uint32_t, std::vector<Needle>> by_start_;
  std::deque<std::uint32_t> order_;  // by age
};

// Made on first use and never destroyed: a thread may log while the process ends.
struct Registry {
  std::mutex mutex;
  Hidden hidden;
};

Registry& registry() {
  static Registry* const made = [] {
    auto* const registry_made = new Registry();
    // A child that is forked while another thread cleans a text must be able to make errors.
    ::pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); },
                     [] { registry().mutex.unlock(); });
    return registry_made;
  }();
  return *made;
}

// A copy of a secret, wiped when it is destroyed.
class Wiped {
 public:
  explicit Wiped(std::string text) : text_(std::move(text)) {}
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  ~Wiped() { ::explicit_bzero(text_.data(), text_.size()); }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

void add_needle(std::string_view secret, bool is_whole) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.hidden.add(secret, is_whole);
}

// The secret itself, and its forms in a URL, a header or a form. is_whole: only the whole secret
// counts, because many texts may begin in the same way.
void hide_forms(std::string_view secret, bool is_whole) {
  if (secret.size() < kLeastSecretBytes) return;
  add_needle(secret, is_whole);
  for (const std::string_view also_kept : {"", "/"}) {
    const Wiped encoded(percent_encode(secret, also_kept));
    if (encoded.text() != secret) add_needle(encoded.text(), is_whole);
  }
  if (secret.find('%') != std::string_view::npos) {
    auto decoded = percent_decode(secret);
    const Wiped kept(decoded ? *std::move(decoded) : std::string());
    if (kept.text().size() >= kLeastSecretBytes) add_needle(kept.text(), is_whole);
  }
  if (secret.size() <= kMostEncodedBytes) add_needle(Wiped(base64_encode(secret)).text(), is_whole);
}

// ---- Names that stand for secrets ----

// In lower case and without '-' and '_': what the name of a secret ends with.
constexpr std::array<std::string_view, 19> kSecretNames = {"accesskey",
                                                           "accountkey",
                                                           "apikey",
                                                           "assertion",
                                                           "connectionstring",
                                                           "customerkey",
                                                           "identityheader",
                                                           "passwd",
                                                           "password",
                                                           "privatekey",
                                                           "saskey",
                                                           "secret",
                                                           "secretkey",
                                                           "sharedaccesskey",
                                                           "sharedaccesssignature",
                                                           "signature",
                                                           "storagekey",
                                                           "token",
                                                           "pwd"};
// Of headers: secret up to the end of the line.
constexpr std::array<std::string_view, 7> kSecretHeaders = {
    "authorization",
    "proxy-authorization",
    "x-amz-security-token",
    "x-aws-ec2-metadata-token",
    "x-amz-server-side-encryption-customer-key",
    "cookie",
    "set-cookie"};

bool is_secret_name(std::string_view name) {
  if (equal_ignoring_case(name, "sig")) return true;
  std::string lower = to_lower(name);
  std::erase_if(lower, [](char c) { return c == '-' || c == '_'; });
  return std::any_of(kSecretNames.begin(), kSecretNames.end(),
                     [&](std::string_view secret) { return lower.ends_with(secret); });
}

bool is_secret_header(std::string_view name) {
  return std::any_of(kSecretHeaders.begin(), kSecretHeaders.end(),
                     [&](std::string_view header) { return equal_ignoring_case(header, name); });
}

// The name that ends right before text[end]; empty if there is none. At most as long as the longest
// known name.
std::string_view name_before(std::string_view text, std::size_t end) {
  constexpr std::size_t kLongestName = 64;
  std::size_t begin = end;
  while (begin > 0 && end - begin < kLongestName && is_name_character(text[begin - 1]))
    --begin;
  return text.substr(begin, end - begin);
}

// Of "anonymous", "profile:NAME" or "keys:ID:SECRET", the values of settings of credentials: what
// follows the kind, or all of it if there is none.
Span secret_of_credentials(std::string_view text, Span value) {
  const Span none{value.begin, value.begin};
  const std::string_view all = text.substr(value.begin, value.end - value.begin);
  const std::string_view kind = all.substr(0, all.find(':'));
  for (const std::string_view shown : {"profile", "file"}) {
    if (kind == shown && kind != all) return none;
  }
  if (kind != all) return {value.begin + kind.size() + 1, value.end};
  const bool is_word = all.starts_with("auto") || all.starts_with("anonymous");
  return is_word ? none : value;
}

// The value of a secret name whose '=' or ':' is at `mark`; empty if the name is not secret.
Span value_at(std::string_view text, std::size_t mark) {
  const Span none{mark, mark};
  const auto is_quote = [&](std::size_t at) {
    return at < text.size() && (text[at] == '"' || text[at] == '\'');
  };
  std::size_t end = mark;
  while (end > 0 && text[end - 1] == ' ')
    --end;
  const bool is_quoted = end > 0 && is_quote(end - 1);
  const std::string_view name = name_before(text, is_quoted ? end - 1 : end);
  std::size_t begin = mark + 1;
  while (begin < text.size() && text[begin] == ' ')
    ++begin;
  const bool opens_quote = is_quote(begin);
  if (opens_quote) ++begin;
  if (text[mark] == ':' && is_secret_header(name)) return {begin, end_of(text, begin, "\r\n\"<>")};
  // With a colon only as JSON has it: prose may end a name with one.
  if (text[mark] == ':' && !(is_quoted && opens_quote)) return none;
  if (to_lower(name).ends_with("_credentials"))
    return secret_of_credentials(text, {begin, end_of(text, begin, " \t\r\n\"'<>")});
  if (!is_secret_name(name)) return none;
  std::string_view stops = " \t\r\n&;,\"'<>)}";
  // Its parts are joined by '&', and those of a connection string by ';'.
  if (equal_ignoring_case(name, "sharedaccesssignature")) stops = " \t\r\n;,\"'<>)}";
  if (to_lower(name).ends_with("connection_string")) stops = " \t\r\n\"'<>";
  return {begin, end_of(text, begin, stops)};
}

void find_named(std::string_view text, Spans& spans) {
  for (std::size_t at = text.find_first_of("=:"); at != std::string_view::npos;) {
    const Span value = value_at(text, at);
    if (value.end > value.begin) spans.push_back(value);
    at = text.find_first_of("=:", std::max(at + 1, value.end));
  }
}

// ---- URLs ----

// Schemes whose keys may contain a '?'.
bool is_object_scheme(std::string_view scheme) {
  constexpr std::array<std::string_view, 14> kObjectSchemes = {
      "s3",  "s3a",  "s3n",   "gs",   "gcs",   "az",   "azure",
      "adl", "abfs", "abfss", "wasb", "wasbs", "file", "hf"};
  return std::find(kObjectSchemes.begin(), kObjectSchemes.end(), to_lower(scheme)) !=
         kObjectSchemes.end();
}

// "host:port", and nothing that could be a user's name and password.
bool names_only_host(std::string_view authority) {
  if (authority.starts_with("[")) return true;
  const std::size_t colon = authority.find(':');
  if (colon == std::string_view::npos) return true;
  const std::string_view port = authority.substr(colon + 1);
  return std::all_of(port.begin(), port.end(), is_digit);
}

// The secret parts of the URL whose authority begins at `begin` and which ends at `end`.
void find_in_url(std::string_view text, std::string_view scheme, std::size_t begin, std::size_t end,
                 Spans& spans) {
  const std::string_view url = text.substr(begin, end - begin);
  const bool is_object = is_object_scheme(scheme);
  const std::string_view authority = url.substr(0, end_of(url, 0, "/?#"));
  const std::size_t query = is_object ? std::string_view::npos : url.find_first_of("?#");
  // abfss://container@account and hf://model@revision: no password, and what it is about.
  const bool is_name = (to_lower(scheme).starts_with("abfs") || to_lower(scheme) == "hf") &&
                       authority.find(':') == std::string_view::npos;
  const bool has_user = authority.find('@') != std::string_view::npos && !is_name;
  std::size_t from = 0;
  if (has_user || !names_only_host(authority)) {
    const std::size_t last = is_object ? authority.rfind('@') : url.rfind('@');
    if (last != std::string_view::npos) {
      // A '?' before the '@' may be part of the password, or the '@' one of the query.
      const bool is_ambiguous = query != std::string_view::npos && query < last;
      from = is_ambiguous ? url.size() : last;
      spans.push_back({begin, begin + from});
    }
  }
  if (query != std::string_view::npos && query >= from && query + 1 < url.size())
    spans.push_back({begin + query + 1, end});
}

void find_urls(std::string_view text, Spans& spans) {
  // Of URLs within a URL; more of them are nothing to look at one by one.
  constexpr std::size_t kMostInOneWord = 8;
  std::size_t word = 0;  // where the word ends that the URL is in
  std::size_t in_word = 0;
  for (std::size_t at = text.find("://"); at != std::string_view::npos;
       at = text.find("://", at + 3)) {
    in_word = at < word ? in_word + 1 : 0;
    if (in_word == 0) word = end_of(text, at, kBlanks);
    if (in_word == kMostInOneWord) {
      spans.push_back({at + 3, word});
      at = word;
      continue;
    }
    std::size_t scheme = at;
    while (scheme > 0 && at - scheme < 16 &&
           (is_letter_or_digit(text[scheme - 1]) || text[scheme - 1] == '+'))
      --scheme;
    std::size_t end = end_of(text, at + 3, kUrlEnd);
    // A quote may be part of a password.
    const std::string_view start = text.substr(at + 3, end - at - 3);
    const bool may_go_on = !names_only_host(start.substr(0, end_of(start, 0, "/?#")));
    if (may_go_on && text.substr(end, word - end).find('@') != std::string_view::npos) end = word;
    // What ends a sentence ends the URL.
    while (end > at + 3 &&
           std::string_view(".,;:!)]}").find(text[end - 1]) != std::string_view::npos)
      --end;
    find_in_url(text, text.substr(scheme, at - scheme), at + 3, end, spans);
  }
}

// ---- Tokens and keys by their looks ----

std::size_t end_of_token(std::string_view text, std::size_t begin) {
  while (begin < text.size() && is_token_character(text[begin]))
    ++begin;
  return begin;
}

void find_tokens(std::string_view text, Spans& spans) {
  for (const std::string_view scheme : {"Bearer ", "bearer ", "Basic ", "basic "}) {
    for (std::size_t at = text.find(scheme); at != std::string_view::npos;
         at = text.find(scheme, at + 1)) {
      const std::size_t begin = at + scheme.size();
      const std::size_t end = end_of_token(text, begin);
      const std::string_view token = text.substr(begin, end - begin);
      const bool has_digit = std::any_of(token.begin(), token.end(), is_digit);
      if (token.size() >= 20 || (token.size() >= kLeastSecretBytes && has_digit))
        spans.push_back({begin, end});
    }
  }
  // JSON web tokens: the base64 of {" begins so.
  for (std::size_t at = text.find("eyJ"); at != std::string_view::npos; at = text.find("eyJ", at)) {
    const std::size_t end = end_of_token(text, at);
    const bool is_start = at == 0 || !is_letter_or_digit(text[at - 1]);
    if (is_start && end - at >= 20) spans.push_back({at, end});
    at = std::max(end, at + 3);
  }
  for (std::size_t at = text.find("-----BEGIN "); at != std::string_view::npos;
       at = text.find("-----BEGIN ", at)) {
    const std::size_t kind = at + 11;
    const std::size_t dashes = std::min(text.find("-----", kind), text.size());
    const bool is_private =
        text.substr(kind, dashes - kind).find("PRIVATE KEY") != std::string_view::npos;
    std::size_t end = std::min(text.find("-----END ", dashes), text.size());
    if (end < text.size()) end = std::min(text.find("-----", end + 9), text.size() - 5) + 5;
    if (is_private) spans.push_back({at, end});
    at = is_private ? end : kind;
  }
}

std::string without(std::string_view text, Spans& spans) {
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });
  std::string kept;
  std::size_t at = 0;
  for (std::size_t i = 0; i < spans.size();) {
    Span cut = spans[i];
    for (++i; i < spans.size() && spans[i].begin <= cut.end; ++i)
      cut.end = std::max(cut.end, spans[i].end);
    kept += text.substr(at, cut.begin - at);
    kept += kCut;
    at = cut.end;
  }
  kept += text.substr(at);
  return kept;
}

// "user:password" of a proxy or an endpoint, with a scheme or without.
std::string_view user_of(std::string_view url) {
  const std::size_t at = url.rfind('@');
  if (at == std::string_view::npos) return {};
  const std::size_t scheme = url.find("://");
  const std::size_t begin = scheme == std::string_view::npos || scheme > at ? 0 : scheme + 3;
  return url.substr(begin, at - begin);
}

}  // namespace

std::string clean_text(std::string_view text) {
  Spans spans;
  find_urls(text, spans);
  find_named(text, spans);
  find_tokens(text, spans);
  {
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    all.hidden.find(text, spans);
  }
  std::string cleaned = spans.empty() ? std::string(text) : without(text, spans);
  if (cleaned.find('\0') == std::string::npos) return cleaned;
  std::string shown;
  for (const char c : cleaned)
    c == '\0' ? shown.append("\\0") : shown.append(1, c);
  return shown;
}

void hide(std::string_view secret) {
  secret = trim(secret);
  if (secret.size() < kLeastSecretBytes) return;
  Spans values;
  find_named(secret, values);
  // Base64 has its '=' at the end only.
  const std::size_t equals = std::min(secret.find('='), secret.size());
  const bool has_parts =
      !values.empty() || (secret.find_first_not_of('=', equals) != std::string_view::npos &&
                          secret.find_first_of("&;") != std::string_view::npos);
  hide_forms(secret, has_parts);
  for (const Span& value : values)
    hide_forms(secret.substr(value.begin, value.end - value.begin), false);
}

void hide_value_of(std::string_view name, std::string_view value) {
  if (is_secret_name(name)) hide(value);
  if (const std::size_t query = value.find('?'); query != std::string_view::npos)
    if (value.substr(0, query).find("://") != std::string_view::npos) hide(value.substr(query + 1));
  const std::string_view user = user_of(value);
  const std::size_t colon = user.find(':');
  if (user.empty() || colon == std::string_view::npos) return;
  add_needle(Wiped(std::string(user) + "@").text(), true);
  add_needle(Wiped(base64_encode(user)).text(), true);
  hide_forms(user.substr(colon + 1), false);
}

std::string url_without_secrets(std::string_view url) {
  const std::size_t mark = url.find("://");
  const std::size_t begin = mark == std::string_view::npos ? 0 : mark + 3;
  const std::string scheme(url.substr(0, begin));
  const std::string_view rest = url.substr(begin);
  const std::size_t query = rest.find_first_of("?#");
  const std::size_t at = rest.rfind('@');
  const bool has_user = at != std::string_view::npos;
  // A '?' before the '@' may be part of the password, or the '@' one of the query.
  if (has_user && query < at) return scheme + std::string(kCut);
  const std::string_view host = has_user ? rest.substr(at) : rest;
  const std::size_t end = host.find_first_of("?#");
  const bool has_query = end != std::string_view::npos && end + 1 < host.size();
  return fmt::format("{}{}{}{}", scheme, has_user ? kCut : "", host.substr(0, end),
                     has_query ? "?***" : "");
}

}  // namespace streamer::core::inline base
