// SPDX-License-Identifier: Apache-2.0
#include "base/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <vector>

#include "base/clean_text.hpp"
#include "base/nearest.hpp"
#include "base/text.hpp"

namespace streamer::core {

namespace {

constexpr SettingRow kRows[] = {
    {"aws_profile", "STREAMER_AWS_PROFILE", nullptr, "auto", "auto, or a profile's name",
     "The profile of ~/.aws/config and ~/.aws/credentials. auto is AWS_DEFAULT_PROFILE, "
     "AWS_PROFILE, "
     "else default. If it is set here, the environment's own credentials are not looked at."},
    {"azure_account_key", "STREAMER_AZURE_ACCOUNT_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "auto",
     "auto, or a key: base64", "The key of the storage account. Never logged.", true},
    {"azure_account_name", "STREAMER_AZURE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_NAME", "auto",
     "auto, or a name", "The storage account of az:// URIs, which name none."},
    {"azure_bearer_token", "STREAMER_AZURE_BEARER_TOKEN", nullptr, "auto", "auto, or a token",
     "A token of Microsoft Entra to use instead of looking for one. Never logged.", true},
    {"azure_connection_string", "STREAMER_AZURE_CONNECTION_STRING",
     "AZURE_STORAGE_CONNECTION_STRING", "auto", "auto, or a connection string",
     "Account, endpoint and key or SAS token in one, as the portal shows it. Never logged.", true},
    {"azure_endpoint", "STREAMER_AZURE_ENDPOINT", nullptr, "auto", "auto, or a URL",
     "Where the account is; of an emulator, with the account's name as path. May end in a SAS "
     "token. "
     "auto is AZURE_STORAGE_ENDPOINT, the connection string's, else https://ACCOUNT.blob.SUFFIX."},
    {"azure_endpoint_suffix", "STREAMER_AZURE_ENDPOINT_SUFFIX", "AZURE_STORAGE_ENDPOINT_SUFFIX",
     "auto", "auto, or a domain",
     "The cloud that the account is in. auto is the connection string's, else core.windows.net."},
    {"azure_sas_token", "STREAMER_AZURE_SAS_TOKEN", "AZURE_STORAGE_SAS_TOKEN", "auto",
     "auto, or a query", "A shared access signature for all URIs. Never logged.", true},
    {"azure_unsigned", "STREAMER_AZURE_UNSIGNED", nullptr, "no", "yes (or 1), no (or 0)",
     "Whether requests go without credentials, for public containers."},
    {"ca_bundle", "STREAMER_CA_BUNDLE", nullptr, "auto", "auto, or a path",
     "The PEM file of the authorities that sign the servers' certificates, or a folder of such "
     "files named by their hashes (openssl rehash). auto is AWS_CA_BUNDLE, the profile's "
     "ca_bundle, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, else the system's file and folder, or "
     "SSL_CERT_FILE and SSL_CERT_DIR in their places."},
    {"cache_folder", "STREAMER_CACHE_FOLDER", nullptr, "auto", "auto, or a path",
     "Where snapshots of models' small files are kept. auto is $XDG_CACHE_HOME/libstreamer, else "
     "~/.cache/libstreamer. Whoever may write to it decides what programs read from it."},
    {"chunk_bytes", "STREAMER_CHUNK_BYTES", "RUNAI_STREAMER_CHUNK_BYTESIZE", "auto",
     "auto, or bytes from 4096",
     "How many bytes one read request asks for. auto is 2 MiB for files, and 1 to 8 MiB over a "
     "network, so that every connection gets several."},
    {"client_certificate", "STREAMER_CLIENT_CERTIFICATE", nullptr, "auto", "auto, or a path",
     "The PEM file of the certificate by which servers that ask for one (mutual TLS) know this "
     "client, with those that vouch for it behind it. Shown to every server that asks, those that "
     "give out credentials too."},
    {"client_key", "STREAMER_CLIENT_KEY", nullptr, "auto", "auto, or a path",
     "The PEM file of client_certificate's private key, not encrypted. auto is the certificate's "
     "file."},
    {"coalesce_gap_bytes", "STREAMER_COALESCE_GAP_BYTES", nullptr, "auto", "auto, or bytes",
     "Unwanted bytes between two wanted ranges are read and dropped if they are no more than this; "
     "larger gaps are skipped by a request of their own for each side. auto is 16 KiB for files, "
     "and "
     "1 MiB over a network."},
    {"concurrency", "STREAMER_CONCURRENCY", "RUNAI_STREAMER_CONCURRENCY", "auto",
     "auto, or 1 to 1024",
     "How many readers of files a load starts; and how many connections it uses over a network, "
     "unless connections says it."},
    {"connect_timeout_ms", "STREAMER_CONNECT_TIMEOUT_MS", nullptr, "5000",
     "milliseconds, 1 to 600000",
     "How long a connection may take: finding the address, connecting, TLS."},
    {"connections", "STREAMER_CONNECTIONS", "RUNAI_STREAMER_S3_MAX_CONNECTIONS", "auto",
     "auto, or 1 to 1024",
     "How many connections a load uses over a network. auto starts with few and goes on while more "
     "bring more."},
    {"device_alignment", "STREAMER_DEVICE_ALIGNMENT", "RUNAI_STREAMER_CUDA_ALIGNMENT", "512",
     "0, or a power of two up to 1048576",
     "Where a tensor begins in the library's memory of a device: at a multiple of this. 0 is the "
     "size of its element."},
    {"device_allocator", "STREAMER_DEVICE_ALLOCATOR", nullptr, "malloc", "malloc, pool",
     "Where the library takes memory of a device from: cudaMalloc, or the device's memory pool "
     "(cudaMallocAsync), which other parts of the process may share."},
    {"device_memory_limit", "STREAMER_DEVICE_MEMORY_LIMIT", nullptr, "unlimited",
     "unlimited (or -1), or bytes",
     "How much of each device's memory a load may hold for tensors that were not released yet. "
     "unlimited is room for all of them at once."},
    {"device_streams", "STREAMER_DEVICE_STREAMS", nullptr, "1", "1 to 16",
     "How many streams a load uses on each device. The device copies one at a time all the same."},
    {"direct_depth", "STREAMER_DIRECT_DEPTH", nullptr, "auto", "auto, or 1 to 256",
     "How many direct reads a reader keeps in flight through io_uring."},
    {"distributed_buffer_bytes", "STREAMER_DISTRIBUTED_BUFFER_BYTES",
     "RUNAI_STREAMER_DIST_BUFFER_MIN_BYTESIZE", "128MiB", "bytes",
     "Of a load that ranks share: how much a rank receives in one round at most. It takes that "
     "much memory up to three times: for what it reads ahead, sends and receives. Less than 1MiB "
     "is raised to that, more than 16GiB lowered."},
    {"distributed_mpi", "STREAMER_DISTRIBUTED_MPI", nullptr, "auto", "auto, or a path",
     "Where libstreamer_mpi.so is. auto is beside the library or the command, else where the "
     "system "
     "looks."},
    {"distributed_nccl", "STREAMER_DISTRIBUTED_NCCL", nullptr, "auto", "auto, or a path",
     "Which NCCL to use. auto is libnccl.so.2, the one that the process has if it has one."},
    {"distributed_partition", "STREAMER_DISTRIBUTED_PARTITION", "RUNAI_STREAMER_PARTITION_POLICY",
     "chunks", "chunks, files", "Who reads what: pieces of every file, evenly, or whole files."},
    {"distributed_scope", "STREAMER_DISTRIBUTED_SCOPE", "RUNAI_STREAMER_DIST_GLOBAL", "node",
     "node (or 0), all (or 1)",
     "Who shares a load: the ranks of each machine, or all of them. For those who make the "
     "communicator: the command and the Python packages."},
    {"distributed_timeout_s", "STREAMER_DISTRIBUTED_TIMEOUT_S", "RUNAI_STREAMER_DIST_TIMEOUT",
     "600", "seconds, 1 to 86400",
     "How long a rank waits for the others, each time that it needs them, before the load fails."},
    {"file_io", "STREAMER_FILE_IO", nullptr, "auto", "auto, direct, buffered",
     "How files are read. auto asks the page cache, chunk by chunk: cached chunks are copied from "
     "it, others are read past it (O_DIRECT) where the file system allows."},
    {"gcs_access_key_id", "STREAMER_GCS_ACCESS_KEY_ID", nullptr, "auto", "auto, or a key id",
     "Together with gcs_secret_access_key: an HMAC key, instead of a token."},
    {"gcs_bearer_token", "STREAMER_GCS_BEARER_TOKEN", nullptr, "auto", "auto, or a token",
     "An access token to use instead of looking for one. Never logged.", true},
    {"gcs_credential_file", "STREAMER_GCS_CREDENTIAL_FILE", "RUNAI_STREAMER_GCS_CREDENTIAL_FILE",
     "auto", "auto, or a path",
     "A file of Google credentials, of any type. auto is GOOGLE_APPLICATION_CREDENTIALS, gcloud's "
     "own file, else the metadata server."},
    {"gcs_endpoint", "STREAMER_GCS_ENDPOINT", nullptr, "auto", "auto, or a URL",
     "Where Google Cloud Storage is. auto is CLOUD_STORAGE_EMULATOR_ENDPOINT or "
     "STORAGE_EMULATOR_HOST, which are read from without credentials, else Google's own."},
    {"gcs_secret_access_key", "STREAMER_GCS_SECRET_ACCESS_KEY", nullptr, "auto", "auto, or a key",
     "See gcs_access_key_id. Never logged.", true},
    {"gcs_unsigned", "STREAMER_GCS_UNSIGNED", "RUNAI_STREAMER_GCS_USE_ANONYMOUS_CREDENTIALS", "no",
     "yes (or 1), no (or 0)", "Whether requests go without credentials, for public buckets."},
    {"gcs_user_project", "STREAMER_GCS_USER_PROJECT", nullptr, "auto", "auto, or a project",
     "The project that is charged, for buckets whose readers pay. auto is the credentials' quota "
     "project."},
    {"gpudirect", "STREAMER_GPUDIRECT", nullptr, "off", "off, on, or the path of libcufile",
     "Whether chunks of files that are not in the page cache go to a device past the host's memory "
     "(GPUDirect Storage). on loads libcufile.so.0; what it does not take goes through host memory "
     "and is noted."},
    {"header_rules", "STREAMER_HEADER_RULES", nullptr, "strict", "strict, lenient",
     "How safetensors headers are read. lenient: of a name that is there twice the last counts, "
     "__metadata__ may hold anything, bytes may follow the last tensor, a header may have 100 "
     "MiB."},
    {"hedging", "STREAMER_HEDGING", nullptr, "auto", "auto, off",
     "Whether the slowest requests of a load are made a second time on a new connection."},
    {"https_bearer_token", "STREAMER_HTTPS_BEARER_TOKEN", nullptr, "auto", "auto, or a token",
     "What plain https:// URLs are asked with; sent to the host that the URL names and to no "
     "other. "
     "Never logged.",
     true},
    {"io_uring", "STREAMER_IO_URING", nullptr, "auto", "auto, off",
     "Whether direct reads go through io_uring where the kernel allows it."},
    {"low_speed_limit", "STREAMER_LOW_SPEED_LIMIT", "RUNAI_STREAMER_S3_LOW_SPEED_LIMIT", "off",
     "off, or bytes per second",
     "A connection that stays slower than this for the stall timeout is given up."},
    {"max_attempts", "STREAMER_MAX_ATTEMPTS", nullptr, "10", "1 to 100",
     "How often a request over a network is made before its failure is the load's. Progress starts "
     "the count anew."},
    {"max_bandwidth", "STREAMER_MAX_BANDWIDTH", nullptr, "unlimited",
     "unlimited, or bytes per second from 65536",
     "A cap on what a load reads per second, for links that are shared."},
    {"memory_limit", "STREAMER_MEMORY_LIMIT", "RUNAI_STREAMER_MEMORY_LIMIT", "auto",
     "auto, unlimited (or -1), minimum (or 0), or bytes",
     "How much host memory a load may hold between storage and the release of its tensors. auto is "
     "80 % of what the machine and its control group have free when the load starts; minimum is "
     "the largest tensor, with the buffers of reading on top. Otherwise those are within the "
     "limit, "
     "as far as it leaves room for them beside the largest tensor. Memory of the caller does not "
     "count."},
    {"operation_timeout_ms", "STREAMER_OPERATION_TIMEOUT_MS", nullptr, "none",
     "none, or milliseconds, 1 to 86400000",
     "Opening a checkpoint, a listing, a pull, a snapshot or a diagnosis that takes longer than "
     "this "
     "in all, retries included, ends with timed_out. Loads have progress_timeout_ms."},
    {"progress_timeout_ms", "STREAMER_PROGRESS_TIMEOUT_MS", nullptr, "120000",
     "milliseconds, 1 to 86400000",
     "A load over a network to which no byte came for this long fails."},
    {"s3_access_key_id", "STREAMER_S3_ACCESS_KEY_ID", nullptr, "auto", "auto, or a key id",
     "Together with s3_secret_access_key: credentials to use instead of looking for some."},
    {"s3_addressing", "STREAMER_S3_ADDRESSING", "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "auto",
     "auto, path (or 0), virtual (or 1)",
     "Whether the bucket stands in the path or in the host's name. auto is virtual with AWS, and "
     "path "
     "with an endpoint of one's own."},
    {"s3_endpoint", "STREAMER_S3_ENDPOINT", nullptr, "auto", "auto, or a URL",
     "Where S3 is. auto is RUNAI_STREAMER_S3_ENDPOINT, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the "
     "profile's endpoint_url, else AWS in the bucket's region."},
    {"s3_expected_bucket_owner", "STREAMER_S3_EXPECTED_BUCKET_OWNER", nullptr, "auto",
     "auto, or an account's number", "Requests fail if the bucket is not this account's."},
    {"s3_region", "STREAMER_S3_REGION", nullptr, "auto", "auto, or a region",
     "The region of the bucket. auto is AWS_REGION, AWS_DEFAULT_REGION, the profile's region, else "
     "us-east-1; AWS says so if that is wrong, and is believed."},
    {"s3_requester_pays", "STREAMER_S3_REQUESTER_PAYS", nullptr, "no", "yes (or 1), no (or 0)",
     "Whether the one who asks agrees to be charged."},
    {"s3_secret_access_key", "STREAMER_S3_SECRET_ACCESS_KEY", nullptr, "auto", "auto, or a key",
     "See s3_access_key_id. Never logged.", true},
    {"s3_session_token", "STREAMER_S3_SESSION_TOKEN", nullptr, "auto", "auto, or a token",
     "The session that s3_access_key_id belongs to, if it does. Never logged.", true},
    {"s3_sse_customer_key", "STREAMER_S3_SSE_CUSTOMER_KEY", nullptr, "auto",
     "auto, or a key: the base64 of 32 bytes",
     "The key of objects that were stored with a key of the customer (SSE-C). Never logged.", true},
    {"s3_unsigned", "STREAMER_S3_UNSIGNED", "RUNAI_STREAMER_S3_UNSIGNED", "no",
     "yes (or 1), no (or 0)", "Whether requests go without credentials, for public buckets."},
    {"s3_version_id", "STREAMER_S3_VERSION_ID", nullptr, "auto", "auto, or a version",
     "Which version of an object to read in a bucket that keeps several."},
    {"same_names", "STREAMER_SAME_NAMES", nullptr, "refuse", "refuse, keep",
     "What happens if several files of a checkpoint have a tensor of the same name: an error, or "
     "all "
     "of them are there, and the name stands for the first."},
    {"staging_bytes", "STREAMER_STAGING_BYTES", nullptr, "256MiB", "bytes",
     "How much pinned host memory the bytes of a load pass through on their way to each device; no "
     "more than memory_limit, and no less than two segments. It is kept for the next load."},
    {"staging_segment_bytes", "STREAMER_STAGING_SEGMENT_BYTES", nullptr, "2MiB",
     "bytes from 4096 to 67108864, in whole pages",
     "How many bytes are copied to a device at a time, and the most that one read request for a "
     "device asks for from a file."},
    {"stall_timeout_ms", "STREAMER_STALL_TIMEOUT_MS", "RUNAI_STREAMER_S3_REQUEST_TIMEOUT_MS",
     "10000", "milliseconds, 1 to 600000",
     "A request over a network to which no byte comes for this long is made again, on a new "
     "connection."},
    {"target_gbps", "STREAMER_TARGET_GBPS", "RUNAI_STREAMER_S3_TARGET_GBPS", "auto",
     "auto, or 1 to 1000 (gigabits per second)",
     "What the network can bring, if that is known: a load then starts with as many connections as "
     "that most likely takes (0.4 gigabits per second each) instead of 8."},
    {"tensor_alignment", "STREAMER_TENSOR_ALIGNMENT", nullptr, "auto",
     "auto, or a power of two up to 4096",
     "The least alignment, in bytes, of a tensor in the library's own memory. auto is the size of "
     "its element, which most files give at no cost."},
    {"verify", "STREAMER_VERIFY", nullptr, "off",
     "off, store, required, or the path or URI of a manifest",
     "Whether whole objects are checked after loading: against the checksum that the store keeps "
     "(S3: CRC32, CRC32C, CRC64NVME of the full object; Google: CRC32C), or against a manifest, "
     "with lines such as sha256sum writes, or KIND:HEX NAME. An object that the store has no "
     "checksum for, or of which not all is loaded, is a warning with store and an error with "
     "required."},
};

Error bad_value(std::string_view source, std::string_view value, std::string_view values) {
  return Error(ErrorKind::invalid_argument,
               fmt::format("{} is \"{}\"; it may be {}", source, value, values));
}

// What set() and the environment share: nullopt means that value is refused for name. A number of
// bytes, with a unit or without.
std::optional<std::uint64_t> parse_number(std::string_view value, std::string_view word,
                                          std::uint64_t lowest, std::uint64_t highest) {
  if (value == word) return 0;
  const auto number = parse_bytes(value);
  if (!number || *number < lowest || *number > highest) return std::nullopt;
  return number;
}

// A number of things: whole, and without a unit.
std::optional<std::uint64_t> parse_count(std::string_view value, std::string_view word,
                                         std::uint64_t lowest, std::uint64_t highest) {
  if (!word.empty() && value == word) return 0;
  const auto number = parse_unsigned(value);
  if (!number || *number < lowest || *number > highest) return std::nullopt;
  return number;
}

std::optional<MemoryLimit> parse_memory_limit(std::string_view value) {
  using Mode = MemoryLimit::Mode;
  if (value == "auto") return MemoryLimit{};
  if (value == "unlimited" || value == "-1") return MemoryLimit{.mode = Mode::unlimited};
  if (value == "minimum") return MemoryLimit{.mode = Mode::minimum};
  const auto bytes = parse_bytes(value);
  if (!bytes) return std::nullopt;
  if (*bytes == 0) return MemoryLimit{.mode = Mode::minimum};
  return MemoryLimit{.mode = Mode::bytes, .bytes = *bytes};
}

std::optional<FileIo> parse_file_io(std::string_view value) {
  if (value == "auto") return FileIo::automatic;
  if (value == "direct") return FileIo::direct;
  if (value == "buffered") return FileIo::buffered;
  return std::nullopt;
}

// Everything that the table's names stand for, but for texts that are used as they are.
struct AllSettings {
  LoadSettings load;
  RemoteSettings remote;
  DistributedSettings distributed;
};

std::optional<std::chrono::milliseconds> parse_milliseconds(std::string_view value,
                                                            std::uint64_t highest) {
  const auto number = parse_unsigned(value);
  if (!number || *number == 0 || *number > highest) return std::nullopt;
  return std::chrono::milliseconds(*number);
}

bool is_yes_or_no(std::string_view value) {
  for (const char* const word : {"yes", "no", "1", "0", "true", "false"}) {
    if (equal_ignoring_case(value, word)) return true;
  }
  return false;
}

// Puts value into the field that name stands for; false if it is refused.
bool assign(AllSettings& all, std::string_view name, std::string_view value) {
  constexpr std::uint64_t kAny = UINT64_MAX;
  LoadSettings& to = all.load;
  const auto put = [](auto& field, const auto& parsed) {
    if (parsed) field = static_cast<std::remove_reference_t<decltype(field)>>(*parsed);
    return parsed.has_value();
  };
  if (name == "chunk_bytes") {
    return put(to.chunk_bytes, parse_number(value, "auto", 4 * kKiB, kGiB));
  }
  if (name == "coalesce_gap_bytes") {
    if (value == "auto") return true;
    const auto parsed = parse_bytes(value);
    if (parsed) to.coalesce_gap_bytes = *parsed;
    return parsed.has_value();
  }
  if (name == "concurrency") return put(to.concurrency, parse_count(value, "auto", 1, 1024));
  if (name == "connect_timeout_ms")
    return put(all.remote.connect_timeout, parse_milliseconds(value, 600'000));
  if (name == "connections") return put(to.connections, parse_count(value, "auto", 1, 1024));
  if (name == "device_alignment") {
    const auto parsed = parse_bytes(value);
    const bool is_power = parsed && (*parsed & (*parsed - 1)) == 0 && *parsed <= kMiB;
    if (is_power) to.device_alignment_bytes = std::max<std::uint64_t>(*parsed, 1);
    return is_power;
  }
  if (name == "device_allocator") {
    to.device_allocator = value == "pool" ? DeviceAllocator::pool : DeviceAllocator::malloc;
    return value == "pool" || value == "malloc";
  }
  if (name == "device_memory_limit") {
    return put(to.device_memory_limit,
               parse_number(value == "-1" ? "unlimited" : value, "unlimited", 1, kAny));
  }
  if (name == "device_streams") return put(to.device_streams, parse_count(value, "", 1, 16));
  if (name == "direct_depth") return put(to.direct_depth, parse_count(value, "auto", 1, 256));
  if (name == "distributed_buffer_bytes") {
    auto parsed = parse_bytes(value);
    // 0.17 takes any number for its variable: small ones are common in tests.
    if (parsed) parsed = std::clamp<std::uint64_t>(*parsed, kMiB, 16 * kGiB);
    return put(all.distributed.buffer_bytes, parsed);
  }
  if (name == "distributed_partition") {
    all.distributed.partition_by_file = value == "files";
    return value == "files" || value == "chunks";
  }
  if (name == "distributed_scope") {
    all.distributed.spans_nodes = value == "all" || value == "1";
    return all.distributed.spans_nodes || value == "node" || value == "0";
  }
  if (name == "distributed_timeout_s") {
    const auto parsed = parse_unsigned(value);
    return parsed && *parsed >= 1 && *parsed <= 86'400 &&
           put(all.distributed.timeout, std::optional(std::chrono::seconds(*parsed)));
  }
  if (name == "file_io") return put(to.file_io, parse_file_io(value));
  if (name == "gpudirect") {
    to.gpudirect = value == "off" ? "" : value == "on" ? "libcufile.so.0" : value;
    return !value.empty();
  }
  if (name == "hedging") {
    to.hedges = value == "auto";
    return value == "auto" || value == "off";
  }
  if (name == "header_rules") return value == "strict" || value == "lenient";
  if (name == "io_uring") {
    to.io_uring = value == "auto";
    return value == "auto" || value == "off";
  }
  if (name == "low_speed_limit")
    return put(to.least_connection_rate, parse_number(value, "off", 0, kAny));
  if (name == "max_attempts") return put(all.remote.attempts, parse_count(value, "", 1, 100));
  if (name == "max_bandwidth") {
    return put(to.bandwidth_bytes_per_s, parse_number(value, "unlimited", 64 * kKiB, kAny));
  }
  if (name == "memory_limit") return put(to.memory_limit, parse_memory_limit(value));
  if (name == "operation_timeout_ms")
    return value == "none" || parse_milliseconds(value, 86'400'000).has_value();
  if (name == "progress_timeout_ms")
    return put(to.progress_timeout, parse_milliseconds(value, 86'400'000));
  if (name == "s3_addressing")
    return value == "auto" || value == "path" || value == "virtual" || value == "0" || value == "1";
  if (name == "s3_requester_pays" || name.ends_with("_unsigned")) return is_yes_or_no(value);
  if (name == "same_names") return value == "refuse" || value == "keep";
  if (name == "staging_bytes") return put(to.staging_bytes, parse_bytes(value));
  if (name == "staging_segment_bytes") {
    const auto parsed = parse_bytes(value);
    return parsed && *parsed >= kPageBytes && *parsed <= 64 * kMiB && *parsed % kPageBytes == 0 &&
           put(to.staging_segment_bytes, parsed);
  }
  if (name == "stall_timeout_ms")
    return put(all.remote.stall_timeout, parse_milliseconds(value, 600'000));
  if (name == "verify") {
    to.verify = value == "off" ? "" : value;
    return !value.empty();
  }
  if (name == "target_gbps") return put(to.target_gbps, parse_count(value, "auto", 1, 1000));
  if (name == "tensor_alignment") {
    const auto parsed = parse_number(value, "auto", 1, kPageBytes);
    if (parsed && (*parsed & (*parsed - 1)) != 0) return false;
    return put(to.tensor_alignment_bytes, parsed);
  }
  // The others are texts that only their user can judge.
  return !value.empty();
}

Error no_such_setting(std::string_view name) {
  // Whatever else was taken for a name may be the secret that belongs behind it.
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  if (name.size() > 64 || name.find_first_not_of(kLetters) != std::string_view::npos) {
    return Error(ErrorKind::invalid_argument,
                 "that is no setting's name, which has only lower-case letters, digits and _; "
                 "write name=value");
  }
  std::vector<std::string_view> names;
  for (const SettingRow& row : setting_rows())
    names.push_back(row.name);
  const std::string_view close = nearest(name, names);
  return Error(ErrorKind::invalid_argument,
               fmt::format("there is no setting \"{}\"{}", name,
                           close.empty() ? "; the README lists all"
                                         : fmt::format("; did you mean {}?", close)));
}

const SettingRow* find_row(std::string_view name) {
  const auto rows = setting_rows();
  const auto row =
      std::find_if(rows.begin(), rows.end(), [&](const SettingRow& r) { return r.name == name; });
  return row == rows.end() ? nullptr : &*row;
}

struct Source {
  std::string name;  // of the setting or of the variable that the value came from
  std::string value;
};

std::optional<Source> from_environment(const SettingRow& row) {
  for (const char* variable : {row.variable, row.compatible_variable}) {
    if (variable == nullptr) continue;
    const char* const value = ::secure_getenv(variable);
    if (value == nullptr || *value == '\0') continue;
    if (row.is_secret) hide(value);
    hide_value_of(variable, value);
    return Source{variable, value};
  }
  return std::nullopt;
}

}  // namespace

std::span<const SettingRow> setting_rows() noexcept {
  return kRows;
}

Result<void> Settings::set(std::string_view name, std::string_view value, std::string_view prefix) {
  const SettingRow* const row = find_row(name);
  if (row == nullptr) {
    return no_such_setting(name);
  }
  if (row->is_secret) hide(trim(value));
  hide_value_of(name, value);
  AllSettings scratch;
  if (!assign(scratch, name, trim(value))) {
    return bad_value(fmt::format("setting {}", name), value, row->values);
  }
  Values& values = prefix.empty() ? values_ : for_prefix_[std::string(prefix)].values;
  values.insert_or_assign(std::string(name), std::string(trim(value)));
  return {};
}

void Settings::set_credentials_callback(CredentialsCallback callback, std::string_view prefix) {
  auto shared = std::make_shared<const CredentialsCallback>(std::move(callback));
  if (prefix.empty()) {
    credentials_callback_ = std::move(shared);
  } else {
    for_prefix_[std::string(prefix)].credentials_callback = std::move(shared);
  }
}

std::string Settings::prefix_for(std::string_view uri) const {
  std::string longest;
  for (const auto& [prefix, values] : for_prefix_) {
    if (uri.starts_with(prefix)) longest = prefix;
  }
  return longest;
}

Settings Settings::for_uri(std::string_view uri) const {
  Settings flat;
  flat.values_ = values_;
  flat.credentials_callback_ = credentials_callback_;
  for (const auto& [prefix, more] : for_prefix_) {
    if (!uri.starts_with(prefix)) continue;
    for (const auto& [name, value] : more.values)
      flat.values_.insert_or_assign(name, value);
    if (more.credentials_callback) flat.credentials_callback_ = more.credentials_callback;
    // Keys of its own win over a callback that holds for more.
    else if (more.values.contains("s3_access_key_id"))
      flat.credentials_callback_.reset();
  }
  return flat;
}

std::optional<std::string> Settings::text_in_code(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end() || found->second == "auto") return std::nullopt;
  return found->second;
}

std::string Settings::source_of(std::string_view name) const {
  const SettingRow* const row = find_row(name);
  if (row != nullptr && !values_.contains(name)) {
    if (const auto source = from_environment(*row)) return source->name;
  }
  return fmt::format("the setting {}", name);
}

std::string Settings::text(std::string_view name) const {
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  const SettingRow* const row = find_row(name);
  if (row == nullptr) return {};
  if (auto source = from_environment(*row)) return source->value;
  return row->default_text;
}

namespace {

// Those of loads that ranks share are of interest to these alone, wrong ones too.
Result<AllSettings> read_all(const Settings& settings, bool is_distributed = false) {
  AllSettings read;
  for (const SettingRow& row : setting_rows()) {
    if (std::string_view(row.name).starts_with("distributed_") != is_distributed) continue;
    const std::string value = settings.text(row.name);
    if (assign(read, row.name, trim(value))) continue;
    // set() checked its values, so this one came from the environment.
    const auto source = from_environment(row);
    return bad_value(source ? source->name : row.name, value, row.values);
  }
  return read;
}

}  // namespace

Result<LoadSettings> read_load_settings(const Settings& settings) {
  return TRY(read_all(settings)).load;
}

Result<std::optional<std::chrono::milliseconds>> read_operation_timeout(const Settings& settings) {
  constexpr std::string_view kName = "operation_timeout_ms";
  const std::string value = settings.text(kName);
  AllSettings scratch;
  if (!assign(scratch, kName, trim(value)))
    return bad_value(settings.source_of(kName), value, find_row(kName)->values);
  return parse_milliseconds(trim(value), 86'400'000);
}

Result<DistributedSettings> read_distributed_settings(const Settings& settings) {
  return TRY(read_all(settings, true)).distributed;
}

Result<RemoteSettings> read_remote_settings(const Settings& settings) {
  return TRY(read_all(settings)).remote;
}

}  // namespace streamer::core
