// SPDX-License-Identifier: Apache-2.0
#include "storage/hub/hub_store.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "storage/hub/hub_answers.hpp"
#include "storage/s3/dialect.hpp"

namespace streamer::core::inline storage {

namespace {

// Of the answer that names a revision's commit: some models have much to say of themselves.
constexpr std::size_t kMostAboutRevision = 16 * kMiB;

// Whether the hub did not get to answer what was asked.
bool is_unreachable(const Error& error) {
  return error.kind() == ErrorKind::io || error.kind() == ErrorKind::timed_out ||
         error.kind() == ErrorKind::throttled;
}

// A header's value as a size.
std::optional<std::uint64_t> linked_size(const HttpAnswer& answer) {
  return parse_unsigned(answer.head.header_or_empty("x-linked-size"));
}

}  // namespace

Result<std::unique_ptr<Store>> make_hub_store(const Settings& settings) {
  auto http = std::make_shared<HttpClient>();
  const RemoteLimits limits = TRY(read_remote_limits(settings));
  HubConfig config = TRY(read_hub_config(settings, process_environment()));
  if (!config.is_offline && !config.token.empty() && !config.sends_token()) {
    log_line(LogLevel::warning,
             fmt::format("the token from {} is not sent to {}: it would not be secret there; use "
                         "https",
                         config.token_source, config.endpoint.origin));
  }
  return std::unique_ptr<Store>(
      std::make_unique<HubStore>(std::move(config), limits, std::move(http)));
}

// ---- Requests ----

HttpUrl HubStore::url(std::string_view path, std::string query) const {
  return {config_.endpoint.origin, config_.endpoint.base_path + std::string(path),
          std::move(query)};
}

SignedRequest HubStore::request_to(HttpUrl own) {
  const HttpUrl target = redirects_.target_of(own);
  SignedRequest request;
  request.http.origin = target.origin;
  request.http.path = target.path;
  request.http.query = target.query;
  request.http.route = route_to(target.origin);
  if (is_hub(target.origin) && config_.sends_token()) {
    request.http.headers.push_back(
        {"Authorization", "Bearer " + std::string(config_.token.reveal())});
    request.http.route = context().route_for_secrets(target.endpoint());
  }
  request.asked = std::move(own);
  if (log_enabled(LogLevel::trace))
    log_line(LogLevel::trace, fmt::format("GET {}{}", request.http.origin, request.http.path));
  return request;
}

Result<SignedRequest> HubStore::make_range_request(const Uri& uri, ByteRange range,
                                                   const std::string&) {
  const HubPlace place = TRY(parse_hub_uri(uri));
  const Pin pinned = TRY(pin(place, uri));
  SignedRequest request = request_to(url(fmt::format(
      "/{}/resolve/{}/{}", place.page(), pinned.commit, percent_encode(place.path, "/"))));
  // No If-Match: the commit pins the bytes, and the CDN's ETags are not the hub's.
  add_range_headers(request.http.headers, range, "");
  return request;
}

PinnedVersion HubStore::expected(const Object& object, const SignedRequest& request) {
  const bool is_own = is_to(request.http, request.asked);
  return {.size = object.size, .etag = is_own ? object.etag : "", .last_modified = {}};
}

void HubStore::was_accepted(const Uri&, const SignedRequest& request) {
  redirects_.was_accepted(request.asked, request.http);
}

bool HubStore::learn(const Uri& uri, const HttpAnswer& answer) {
  const std::string etag(answer.head.header_or_empty("x-linked-etag"));
  if (etag.empty()) return true;
  return facts_.with([&](auto& facts) {
    const auto [found, is_new] = facts.try_emplace(uri.path(), FileFacts{etag, {}});
    if (is_new) found->second.size = linked_size(answer);
    return found->second.etag == etag;
  });
}

Verdict HubStore::judge_answer(const Uri& uri, const SignedRequest& request,
                               const HttpAnswer& answer) {
  const int status = answer.head.status;
  const bool is_from_hub = is_hub(request.http.origin);
  if (is_redirect(status)) {
    if (is_from_hub && !learn(uri, answer)) {
      return {.error = Error(ErrorKind::object_changed,
                             "the hub now has another file at this commit; load it again")};
    }
    return redirects_.follow(request.asked, request.http, answer);
  }
  const bool has_token = config_.sends_token();
  const ServiceError said = is_from_hub ? hub_error(answer) : ServiceError::of(answer);
  Verdict verdict = failure(request, answer, said, hub_codes(has_token));
  verdict.again = again_after_status(status);
  if (!verdict.retry_after) verdict.retry_after = hub_rate_limit(answer.head);
  if (status == 429 && is_from_hub) {
    ErrorFields fields = verdict.error.fields();
    fields.message += fmt::format(
        "{}{}",
        verdict.retry_after
            ? fmt::format("; the limit ends in {} s", verdict.retry_after->count() / 1000)
            : "",
        has_token ? "" : "; requests with a token (HF_TOKEN) have a higher limit");
    verdict.error = Error(std::move(fields));
  }
  if (status == 401 && is_from_hub && has_token && said.code.empty()) {
    ErrorFields fields = verdict.error.fields();
    fields.message += fmt::format("; the token from {} is not valid there", config_.token_source);
    verdict.error = Error(std::move(fields));
  }
  redirects_.renew(request.asked, request.http, status, verdict);
  return verdict;
}

// ---- Revisions ----

Result<HubStore::Pin> HubStore::look_up(const HubPlace& place, const Uri& uri) {
  std::optional<std::string> cached = cache_.commit_of(place);
  if (config_.is_offline) {
    if (!cached) return not_cached(place, uri, nullptr);
    return Pin{*cached, true};
  }
  // A commit needs no question.
  if (is_commit(place.revision)) return Pin{place.revision, false};
  const HttpUrl own = url(
      fmt::format("/api/{}/{}/revision/{}", place.kind, place.id, percent_encode(place.revision)));
  std::string commit;
  const auto accept = [&](const HttpAnswer& answer) -> std::optional<Verdict> {
    if (const auto json = read_flat_json(answer.body)) commit = text_of(*json, "sha");
    if (is_commit(commit)) return std::nullopt;
    return Verdict{
        .error = Error(ErrorKind::io, fmt::format("{} does not say which commit \"{}\" is: is it a "
                                                  "hub? Check hf_endpoint and HF_ENDPOINT",
                                                  config_.endpoint.origin, place.revision))};
  };
  const auto answer = fetch(
      uri, [&]() -> Result<SignedRequest> { return request_to(own); }, accept, kMostAboutRevision);
  if (answer) {
    log_line(LogLevel::info,
             fmt::format("{}: {} is commit {}", uri.text(), place.revision, commit));
    return Pin{commit, false};
  }
  if (!is_unreachable(answer.error()) || !cached || !cache_.snapshot(place, *cached))
    return answer.error().copy();
  log_line(LogLevel::warning,
           fmt::format("{}; commit {}, which {} was when it was last pulled, is read from {}",
                       answer.error().line(), *cached, place.revision, cache_.folder()));
  return Pin{*cached, true};
}

Result<HubStore::Pin> HubStore::pin(const HubPlace& place, const Uri& uri) {
  const std::string name = fmt::format("{}@{}", place.page(), place.revision);
  const auto known = pins_.with([&](const auto& pins) -> std::optional<Pin> {
    const auto found = pins.find(name);
    return found == pins.end() ? std::nullopt : std::optional(found->second);
  });
  if (known) return *known;
  Pin found = TRY(look_up(place, uri));
  // The first answer counts for all.
  return pins_.with(
      [&](auto& pins) { return pins.try_emplace(name, std::move(found)).first->second; });
}

Error HubStore::not_cached(const HubPlace& place, const Uri& uri, const Pin* pin) const {
  const std::string why = config_.is_offline
                              ? fmt::format("{} says to make no request", config_.offline_source)
                              : "the hub cannot be reached";
  const std::string where =
      cache_.folder().empty()
          ? std::string("there is no cache (hf_cache_folder)")
          : fmt::format("{} has {}", cache_.repository(place),
                        pin == nullptr ? fmt::format("no commit of \"{}\"", place.revision)
                                       : fmt::format("no such file in snapshots/{}", pin->commit));
  return Error(ErrorKind::not_found, fmt::format("{}, and {}", why, where)).at(uri.text());
}

// ---- Listing ----

Result<bool> HubStore::is_folder(const Uri& uri) {
  const HubPlace place = TRY(parse_hub_uri(uri));
  if (place.path.empty() || place.path.ends_with("/")) return true;
  const Pin pinned = TRY(pin(place, uri));
  if (const auto tree = cache_.tree(place, pinned.commit)) {
    const auto entries = entries_below(*tree, place, uri, ListDepth::children);
    return !entries.empty() && entries.front().uri.path() != uri.path();
  }
  if (pinned.is_cached) {
    const auto folder = cache_.snapshot(place, pinned.commit);
    if (!folder) return not_cached(place, uri, &pinned);
    const auto is_one = files_.is_folder(child(*folder, place.path));
    return is_one ? *is_one : false;
  }
  auto asked = RemoteStore::is_folder(uri);
  // What is not a folder has no tree.
  if (!asked && asked.error().fields().service_code == "EntryNotFound") return false;
  return asked;
}

Result<std::vector<Entry>> HubStore::list(const Uri& uri, ListDepth depth) {
  const HubPlace place = TRY(parse_hub_uri(uri));
  const Pin pinned = TRY(pin(place, uri));
  const auto tree = cache_.tree(place, pinned.commit);
  if (!tree && pinned.is_cached) return list_cached(place, uri, depth, pinned);
  // A commit never changes: what the hub's client has listed once needs no request.
  auto entries =
      tree ? Result(entries_below(*tree, place, uri, depth)) : RemoteStore::list(uri, depth);
  if (tree && entries->empty())
    return Error(ErrorKind::not_found, "the repository has no such file at this revision")
        .at(uri.text());
  if (entries) {
    if (depth == ListDepth::all)
      std::erase_if(*entries, [](const Entry& entry) { return entry.is_folder; });
    facts_.with([&](auto& facts) {
      for (const Entry& entry : *entries) {
        if (!entry.is_folder) facts[entry.uri.path()] = {entry.etag, entry.size};
      }
    });
    return entries;
  }
  if (!is_unreachable(entries.error()) || !cache_.snapshot(place, pinned.commit)) return entries;
  log_line(LogLevel::warning, fmt::format("{}; what of commit {} is in {} is listed instead",
                                          entries.error().line(), pinned.commit, cache_.folder()));
  return list_cached(place, uri, depth, pinned);
}

Result<std::vector<Entry>> HubStore::list_cached(const HubPlace& place, const Uri& uri,
                                                 ListDepth depth, const Pin& pin) {
  const auto snapshot = cache_.snapshot(place, pin.commit);
  if (!snapshot) return not_cached(place, uri, &pin);
  const Uri folder = place.path.empty() ? *snapshot : child(*snapshot, place.bare_path());
  auto entries = files_.list(child(folder, ""), depth);
  if (!entries && place.path.ends_with("/")) return not_cached(place, uri, &pin);
  if (!entries) entries = files_.list(folder, depth);
  if (!entries) return not_cached(place, uri, &pin);
  const std::size_t above = snapshot->path().size() + 1;
  for (Entry& entry : *entries) {
    if (!entry.is_folder) entry.etag = hub_etag_of_file(entry.uri.path());
    entry.uri = place.at(uri, entry.uri.path().substr(above));
  }
  return entries;
}

Result<SignedRequest> HubStore::page_request(const Uri& folder, ListDepth depth, std::uint64_t most,
                                             const std::string& token) {
  const HubPlace place = TRY(parse_hub_uri(folder));
  const Pin pinned = TRY(pin(place, folder));
  const std::string_view path = place.bare_path();
  HttpUrl own = url(fmt::format("/api/{}/{}/tree/{}{}{}", place.kind, place.id, pinned.commit,
                                path.empty() ? "" : "/", percent_encode(path)),
                    fmt::format("recursive={}&expand=false&limit={}",
                                depth == ListDepth::all ? "true" : "false", most));
  if (!token.empty()) {
    // A mirror may name the hub that it mirrors: only the hub that was asked gets the token.
    const auto next = resolve_location(own, token);
    if (!next) {
      return Error(ErrorKind::io, "the link to the next page of the listing is not a URL")
          .at(folder.text());
    }
    if (is_hub(next->origin)) own.path = next->path;
    own.query = next->query;
  }
  return request_to(std::move(own));
}

Result<std::optional<Page>> HubStore::read_page(const Uri& folder, const HttpAnswer& answer) {
  const HubPlace place = TRY(parse_hub_uri(folder));
  return std::optional(TRY(read_hub_tree(place, folder, answer)));
}

// ---- Reading ----

std::optional<Uri> HubStore::cached_file(const HubPlace& place, const Uri& uri, const Pin& pin) {
  const auto file = cache_.file(place, pin.commit, place.path);
  if (!file) return std::nullopt;
  const auto said = facts_.with([&](const auto& facts) -> std::optional<FileFacts> {
    const auto found = facts.find(uri.path());
    return found == facts.end() ? std::nullopt : std::optional(found->second);
  });
  if (!said) return file;
  const auto object = stat_file(*file);
  const std::string etag = hub_etag_of_file(file->path());
  const bool is_other = !object || (said->size && object->size != *said->size) ||
                        (!etag.empty() && !said->etag.empty() && etag != said->etag);
  if (!is_other) return file;
  log_line(LogLevel::warning, fmt::format("{} is not used: it is not what the hub has at commit {}",
                                          file->path(), pin.commit));
  return std::nullopt;
}

Result<Opened> HubStore::open(const Uri& uri, std::uint64_t first_bytes) {
  const HubPlace place = TRY(parse_hub_uri(uri));
  if (place.path.empty()) {
    return Error(ErrorKind::invalid_argument, "it is a repository; a file is needed")
        .at(uri.text());
  }
  const Pin pinned = TRY(pin(place, uri));
  if (const auto file = cached_file(place, uri, pinned)) {
    log_line(LogLevel::info, fmt::format("{} is read from {}", uri.text(), file->path()));
    Opened opened = TRY(files_.open(*file, first_bytes));
    opened.object.etag = hub_etag_of_file(file->path());
    // A copy of the cache without its links does not say; the hub may have, if it was listed.
    if (opened.object.etag.empty()) {
      opened.object.etag = facts_.with([&](const auto& facts) {
        const auto found = facts.find(uri.path());
        return found == facts.end() ? std::string() : found->second.etag;
      });
    }
    return opened;
  }
  if (pinned.is_cached) return not_cached(place, uri, &pinned);
  // What the hub says now is what later answers must agree with.
  facts_.with([&](auto& facts) { facts.erase(uri.path()); });
  Opened opened = TRY(RemoteStore::open(uri, first_bytes));
  const auto said = facts_.with([&](auto& facts) {
    // Without a redirect, the ETag is the hub's.
    return facts.try_emplace(uri.path(), FileFacts{opened.object.etag, opened.object.size})
        .first->second;
  });
  if (said.size && *said.size != opened.object.size) {
    return Error(ErrorKind::corrupt,
                 fmt::format("the hub says that it has {} bytes, but where it redirects to it has "
                             "{}",
                             *said.size, opened.object.size))
        .at(uri.text());
  }
  opened.object.etag = said.etag;
  return opened;
}

Result<void> HubStore::read(const Object& object, ByteRange range, std::span<std::byte> to) {
  if (object.uri.scheme() == "file") return files_.read(object, range, to);
  return RemoteStore::read(object, range, to);
}

Result<StoredChecksum> HubStore::stored_checksum(const Object& object) {
  auto expected = sha256_of_hub_etag(object.etag, "the hub");
  if (!expected) {
    return StoredChecksum{std::nullopt,
                          "the hub keeps a SHA-256 only of files in LFS, and this one "
                          "is in git itself"};
  }
  return StoredChecksum{std::move(expected), {}};
}

// ---- For people ----

Result<RemoteWay> HubStore::way_to(const Uri& uri) {
  const HubPlace place = TRY(parse_hub_uri(uri));
  RemoteWay way{.origin = config_.is_offline ? "" : config_.endpoint.origin,
                .endpoint_source =
                    config_.is_offline
                        ? fmt::format("none: {} says to make no request", config_.offline_source)
                        : config_.endpoint_source,
                .facts = {}};
  way.facts.emplace_back("repository",
                         fmt::format("{}, revision {}{}{}", place.page(), place.revision,
                                     place.path.empty() ? "" : ", path ", place.path));
  way.facts.emplace_back("hub cache",
                         cache_.folder().empty()
                             ? fmt::format("none (from {})", config_.cache.source)
                             : fmt::format("{} (from {})", cache_.folder(), config_.cache.source));
  return way;
}

Result<std::string> HubStore::describe_credentials(const Uri&) {
  if (config_.token.empty()) {
    return config_.token_source.empty() ? std::string("none: no token was found")
                                        : fmt::format("none (from {})", config_.token_source);
  }
  return fmt::format("a token from {}{}", config_.token_source,
                     config_.sends_token() ? "" : ", which is not sent: the endpoint is http");
}

Facts HubStore::findings(const Uri& uri) {
  const auto place = parse_hub_uri(uri);
  if (!place) return {};
  const auto pinned = pin(*place, uri);
  if (!pinned) return {};
  const bool has_snapshot = cache_.snapshot(*place, pinned->commit).has_value();
  return {{"commit", fmt::format("{} is {}{}", place->revision, pinned->commit,
                                 pinned->is_cached ? ", read from the cache alone"
                                 : has_snapshot    ? ", of which the cache has files"
                                                   : ", of which the cache has nothing")}};
}

}  // namespace streamer::core::inline storage
