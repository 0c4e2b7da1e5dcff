/* SPDX-License-Identifier: Apache-2.0 */
/* libstreamer: model weights from storage to memory. The C ABI that every binding uses.
 *
 * Conventions, which hold for every item below:
 *  - Handles are pointers to incomplete structs. One function makes each, one function ends it; ending
 *    NULL does nothing.
 *  - A function that can fail returns a streamer_status and takes `streamer_error **error_out` last.
 *    Outputs are written only on success. error_out may be NULL; otherwise a status of 100 or more
 *    stores an error there that the caller owns (streamer_error_free). An error belongs to no thread.
 *  - Statuses below 100 are outcomes, not errors, and store no error.
 *  - A parameter that points to a const handle may be used by several threads at once. A non-const
 *    handle is for one thread at a time, except where an item says otherwise.
 *  - Structs begin with struct_size and only grow at the end. Start from the STREAMER_*_INIT macro,
 *    always, or from the function of its name, for languages without macros:
 *    streamer_plan_item_init(&item, sizeof item). Of structs that the library fills, no byte beyond
 *    struct_size is written. A struct_size that ends within a field is refused; where there is no
 *    error to say so, nothing is written.
 *  - Strings in are UTF-8 and NUL-terminated, and copied before the call returns. Strings out are
 *    UTF-8, borrowed, and live as long as the handle they were asked of.
 *  - Sizes and offsets are bytes. Ranges are half-open: [offset, offset + size).
 *  - Nothing here throws, prints, ends the process, installs signal handlers or changes its locale.
 *  - After fork() only the parent may go on using loads; in the child every call on a load or on its
 *    tensors fails with STREAMER_ERROR_UNSUPPORTED or does nothing.
 *
 * Every item is since 0.1 unless it says otherwise. What is not in this header is no promise. */
#ifndef STREAMER_H_
#define STREAMER_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define STREAMER_API __attribute__((visibility("default")))
#else
#define STREAMER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ---------------------------------------------------------------------------------- */

#define STREAMER_VERSION_MAJOR 0
#define STREAMER_VERSION_MINOR 1
#define STREAMER_VERSION_PATCH 0
/* major * 1000000 + minor * 1000 + patch, as streamer_version() returns it. */
#define STREAMER_VERSION_NUMBER 1000

/* The version of the library that runs, which may be newer than the header compiled against.
 * Thread-safe. */
STREAMER_API uint32_t streamer_version(void);
/* The same as "0.1.0". Static storage. Thread-safe. */
STREAMER_API const char *streamer_version_string(void);

/* ---- Status and errors ------------------------------------------------------------------------ */

typedef int32_t streamer_status;

/* Outcomes. */
#define STREAMER_OK 0
/* Every tensor of the load was yielded. */
#define STREAMER_END 1
/* The timeout passed and nothing was ready; the load goes on. */
#define STREAMER_NOT_READY 2

/* Errors. A kind is a decision the caller can take: 1xx are about the call, 2xx the store, 3xx the
 * content, 4xx this machine, 900 is a bug. Values are never reused; new ones may come. */
#define STREAMER_ERROR_INVALID_ARGUMENT 100 /* the call or a setting is wrong */
#define STREAMER_ERROR_UNSUPPORTED 101 /* this build or this system cannot do it */
#define STREAMER_ERROR_CANCELLED 102 /* the caller cancelled it */
#define STREAMER_ERROR_MEMORY_LIMIT 103 /* the memory limit leaves no room */
#define STREAMER_ERROR_NOT_FOUND 200 /* the object does not exist */
#define STREAMER_ERROR_PERMISSION_DENIED 201 /* the store or the file system refused access */
#define STREAMER_ERROR_CREDENTIALS_EXPIRED 202 /* the credentials are no longer accepted */
#define STREAMER_ERROR_OBJECT_CHANGED 203 /* the object is not the version that was opened */
#define STREAMER_ERROR_THROTTLED 204 /* the store asked to slow down for too long */
#define STREAMER_ERROR_TIMED_OUT 205 /* no progress within the deadline */
#define STREAMER_ERROR_IO 206 /* reading failed */
#define STREAMER_ERROR_UNTRUSTED 207 /* the server's certificate is not trusted */
#define STREAMER_ERROR_CLOCK_SKEW 208 /* this machine's clock is too far off for the store */
#define STREAMER_ERROR_CORRUPT 300 /* the content breaks the format's rules */
#define STREAMER_ERROR_OUT_OF_MEMORY 400 /* memory could not be allocated */
#define STREAMER_ERROR_DEVICE 401 /* the device reported an error */
#define STREAMER_ERROR_INTERNAL 900 /* a bug in libstreamer */

/* "not_found" for 200, "ok" for 0, "unknown" for what this version does not know. Static storage.
 * Thread-safe. */
STREAMER_API const char *streamer_status_name(streamer_status status);

typedef struct streamer_error streamer_error;

/* Every field of an error. Strings are never NULL (empty: none) and live as long as the error. */
typedef struct streamer_error_info {
  size_t struct_size;
  streamer_status status;
  int32_t os_error;     /* errno, 0: none */
  int32_t http_status;  /* 0: none */
  uint32_t attempts;    /* how often it was tried, at least 1 */
  const char *message;  /* what was tried, what came back, what to do; without the place */
  const char *uri;      /* the object */
  uint64_t range_offset;
  uint64_t range_size; /* 0: the error is about the whole object */
  const char *service_code;
  const char *request_id;
  const char *host;    /* of the endpoint that was asked */
  uint64_t elapsed_ms; /* from the first attempt to the last; 0: not measured */
} streamer_error_info;
#define STREAMER_ERROR_INFO_INIT {sizeof(streamer_error_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_error_info_init(streamer_error_info *made, size_t size);

STREAMER_API void streamer_error_get_info(const streamer_error *error, streamer_error_info *info_out);
/* "URI bytes A-B: message" in one line, borrowed from the error. */
STREAMER_API const char *streamer_error_line(const streamer_error *error);
STREAMER_API void streamer_error_free(streamer_error *error);
/* An error of the caller's own, for streamer_communicator_agree(). status: a STREAMER_ERROR_*. NULL if
 * there is no memory for it. */
STREAMER_API streamer_error *streamer_error_new(streamer_status status, const char *message);

/* ---- Log -------------------------------------------------------------------------------------- */

#define STREAMER_LOG_TRACE 0
#define STREAMER_LOG_DEBUG 1
#define STREAMER_LOG_INFO 2
#define STREAMER_LOG_WARNING 3
#define STREAMER_LOG_ERROR 4
#define STREAMER_LOG_OFF 5

/* line has no newline and is valid during the call only. Called from any thread of the library or of
 * the caller, one call at a time; must not call into libstreamer, throw or jump out. */
typedef void (*streamer_log_callback)(int32_t level, const char *line, void *user);

/* Replaces the process's log callback; NULL or STREAMER_LOG_OFF ends logging. Before the first call,
 * the environment says where the log goes: STREAMER_LOG_FILE (a path, or stderr; nothing: nowhere)
 * and STREAMER_LOG_LEVEL (trace, debug, info, warning, error; warning). When it returns, the callback
 * before it is no longer running. Thread-safe. */
STREAMER_API void streamer_log_set(int32_t level, streamer_log_callback callback, void *user);

/* ---- Settings --------------------------------------------------------------------------------- */

/* Everything that can be tuned, by name. What is set here wins over the environment, which is read
 * when an operation starts, and which wins over the default. A load inherits what its checkpoint was
 * opened with; what is given to the load itself wins over that. */
typedef struct streamer_settings streamer_settings;

STREAMER_API streamer_status streamer_settings_new(streamer_settings **settings_out,
                                                   streamer_error **error_out);
/* An unknown name and a value that the setting cannot have are STREAMER_ERROR_INVALID_ARGUMENT. */
STREAMER_API streamer_status streamer_settings_set(streamer_settings *settings, const char *name,
                                                   const char *value, streamer_error **error_out);
/* The same, of a setting of stores, for URIs that begin with uri_prefix ("s3://bucket/",
 * "s3://bucket/team/"): wins over a value without a prefix and over one with a shorter prefix. */
STREAMER_API streamer_status streamer_settings_set_for(streamer_settings *settings,
                                                       const char *uri_prefix, const char *name,
                                                       const char *value,
                                                       streamer_error **error_out);

/* What a callback gives: for s3:// keys, for gs:// and az:// a bearer token. Strings are copied when
 * it returns. */
typedef struct streamer_credentials {
  size_t struct_size;
  const char *access_key_id;     /* NULL: none */
  const char *secret_access_key; /* NULL: none */
  const char *session_token;     /* NULL: none */
  int64_t expires_unix_s;        /* seconds since 1970; 0: never */
  const char *bearer_token;      /* NULL: none */
} streamer_credentials;
#define STREAMER_CREDENTIALS_INIT {sizeof(streamer_credentials), 0, 0, 0, 0, 0}
STREAMER_API void streamer_credentials_init(streamer_credentials *made, size_t size);

/* Fills credentials and returns 0, or returns another number, which the error then names. Called from
 * any thread, when credentials are first needed, before they expire and when the store no longer
 * accepts them; must not call into libstreamer, throw or jump out. */
typedef int32_t (*streamer_credentials_callback)(streamer_credentials *credentials_out, void *user);

/* Asks the callback instead of looking for credentials, for URIs that begin with uri_prefix ("": all).
 * user must stay valid as long as anything that was opened with these settings. */
STREAMER_API streamer_status streamer_settings_set_credentials_callback(
    streamer_settings *settings, const char *uri_prefix, streamer_credentials_callback callback,
    void *user, streamer_error **error_out);
STREAMER_API void streamer_settings_free(streamer_settings *settings);

/* One row of the table of settings. Strings are static; compatible_variable may be NULL. What is named
 * debug.* is for those who look for the cause of something: any version may change or drop it. */
typedef struct streamer_setting_info {
  size_t struct_size;
  const char *name;
  const char *variable;            /* the environment variable */
  const char *compatible_variable; /* another that is read if the first is not set */
  const char *default_value;
  const char *values; /* what it may be */
  const char *meaning;
  int32_t is_secret; /* 1: its value is never in a text of the library */
  const char *scope; /* what it is a setting of: store, checkpoint, load, ranks, call */
} streamer_setting_info;
#define STREAMER_SETTING_INFO_INIT {sizeof(streamer_setting_info), 0, 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_setting_info_init(streamer_setting_info *made, size_t size);

STREAMER_API size_t streamer_setting_count(void);
/* STREAMER_ERROR_INVALID_ARGUMENT for an index that is not below the count. */
STREAMER_API streamer_status streamer_setting_get_info(size_t index, streamer_setting_info *info_out,
                                                       streamer_error **error_out);

/* ---- Operation -------------------------------------------------------------------------------- */

/* Bounds calls that may take as long as a store takes: it may be cancelled, and it may have a time of
 * its own. May be given to any number of calls, one after another or at the same time, and must
 * outlive them. Everything below is thread-safe, but for ending it. Where a call takes an operation,
 * NULL is none; the setting operation_timeout_ms bounds each call by itself, with or without one. */
typedef struct streamer_operation streamer_operation;

/* timeout_ms: from now on, for all of its calls together, which then fail with
 * STREAMER_ERROR_TIMED_OUT; negative: none. */
STREAMER_API streamer_status streamer_operation_new(int64_t timeout_ms,
                                                    streamer_operation **operation_out,
                                                    streamer_error **error_out);
/* Calls under way end at once, and they and all to come fail with STREAMER_ERROR_CANCELLED; what they
 * had begun on disk is removed. May be called in a signal handler. */
STREAMER_API void streamer_operation_cancel(streamer_operation *operation);

/* A descriptor that is readable once the operation was cancelled, and stays so: for what waits beside
 * its calls, such as an event loop or a credentials callback. It is the operation's: watch it, and
 * neither read nor close it. -1 for NULL. */
STREAMER_API int streamer_operation_fd(const streamer_operation *operation);

/* How far the pulls and snapshots of an operation are. */
typedef struct streamer_progress {
  size_t struct_size;
  uint64_t bytes_total; /* of the files that were chosen */
  uint64_t bytes_done;
  uint64_t bytes_skipped; /* of bytes_done: were there already */
  uint64_t files_total;
  uint64_t files_done;
  uint64_t files_skipped; /* of files_done */
} streamer_progress;
#define STREAMER_PROGRESS_INIT {sizeof(streamer_progress), 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_progress_init(streamer_progress *made, size_t size);

STREAMER_API void streamer_operation_get_progress(const streamer_operation *operation,
                                                  streamer_progress *progress_out);
STREAMER_API void streamer_operation_free(streamer_operation *operation);

/* ---- Listing ---------------------------------------------------------------------------------- */

/* What stands directly under a URI, sorted by URI. */
typedef struct streamer_listing streamer_listing;

typedef struct streamer_entry_info {
  size_t struct_size;
  const char *uri;
  uint64_t bytes;   /* 0 for a folder */
  int32_t is_folder; /* 1: a directory or a common prefix; its URI ends in '/' */
  const char *etag;  /* as the store writes it; "" for folders, files, or if it says none */
  int32_t skipped;   /* 1, of a pull: the same bytes were there, and were not copied */
} streamer_entry_info;
#define STREAMER_ENTRY_INFO_INIT {sizeof(streamer_entry_info), 0, 0, 0, 0, 0}
STREAMER_API void streamer_entry_info_init(streamer_entry_info *made, size_t size);

/* uri: a directory or prefix, or one file, which then is the only entry. settings may be NULL. */
STREAMER_API streamer_status streamer_listing_open(const char *uri, const streamer_settings *settings,
                                                   streamer_operation *operation,
                                                   streamer_listing **listing_out,
                                                   streamer_error **error_out);
/* Everything below uri, without folders. */
STREAMER_API streamer_status streamer_listing_open_all(const char *uri,
                                                       const streamer_settings *settings,
                                                       streamer_operation *operation,
                                                       streamer_listing **listing_out,
                                                       streamer_error **error_out);
/* The objects that streamer_checkpoint_open() would open for uri, a model's folder, its index or one
 * file, without reading their headers: for programs that open them by themselves. What is half a model
 * is an error, as it is there; a folder without a model is an empty listing, whose notes say why.
 * Each object was seen. */
STREAMER_API streamer_status streamer_listing_open_model(const char *uri,
                                                         const streamer_settings *settings,
                                                         streamer_operation *operation,
                                                         streamer_listing **listing_out,
                                                         streamer_error **error_out);
/* Of streamer_listing_open_model(): what was left out, and why, one line each; "" for others. */
STREAMER_API const char *streamer_listing_notes(const streamer_listing *listing);
STREAMER_API size_t streamer_listing_count(const streamer_listing *listing);
STREAMER_API streamer_status streamer_listing_get_info(const streamer_listing *listing, size_t index,
                                                       streamer_entry_info *info_out,
                                                       streamer_error **error_out);
/* Where the entries stand: the URI that was listed; of a pull or a snapshot the path of the folder. */
STREAMER_API const char *streamer_listing_root(const streamer_listing *listing);
STREAMER_API void streamer_listing_free(streamer_listing *listing);

/* ---- Pull ------------------------------------------------------------------------------------- */

/* Which objects a pull takes. Patterns are those of fnmatch(3), held against the key and against the
 * path below the URI; '*' crosses '/'. */
typedef struct streamer_pull_options {
  size_t struct_size;
  const char *const *allow; /* one of them must match, if there are any */
  size_t allow_count;
  const char *const *ignore; /* none of them may match */
  size_t ignore_count;
} streamer_pull_options;
#define STREAMER_PULL_OPTIONS_INIT {sizeof(streamer_pull_options), 0, 0, 0, 0}
STREAMER_API void streamer_pull_options_init(streamer_pull_options *made, size_t size);

/* Copies every chosen object below uri to folder/<its path below uri>, several at once; makes folders
 * as needed; keeps to max_bandwidth. A file appears whole under its name or not at all, and replaces
 * one that is there, unless that has the object's bytes: it is read, and must sum up to what was noted
 * with it when it was pulled (in the extended attribute user.libstreamer, which goes with an ETag), to
 * the ETag, if that is an MD5, or to the checksum that the store keeps. What is wrong with an object
 * alone, such as a name that cannot be a path below the folder (STREAMER_ERROR_INVALID_ARGUMENT), is
 * told at the end, when all others are there. The outcome is a listing of the files: uri is the path.
 * options and settings may be NULL. Blocks; streamer_operation_get_progress() says how far it is. */
STREAMER_API streamer_status streamer_pull(const char *uri, const char *folder,
                                           const streamer_pull_options *options,
                                           const streamer_settings *settings,
                                           streamer_operation *operation,
                                           streamer_listing **listing_out,
                                           streamer_error **error_out);

/* A model's small files (configuration, tokenizer, index) in a folder of this machine that is made
 * once for each version of them, below the setting cache_folder: whoever comes first pulls them, in
 * this process or another, others wait for it or find them there. The outcome is a listing of the
 * files (uri is the path), and streamer_listing_root() is the folder, which never changes again.
 * A version is what one listing of the store says: paths, ETags, sizes. Without a pattern everything
 * is taken but what is named like weights (.safetensors, .bin, .pt, .pth, .ckpt, .gguf, .h5,
 * .msgpack, .npz, .onnx, .onnx_data, .tensors). A local folder is its own snapshot.
 * STREAMER_ERROR_NOT_FOUND if nothing is left to take. The files' SHA-256 are kept beside the folder,
 * and what does not match is pulled anew. STREAMER_ERROR_PERMISSION_DENIED if the model's folder in
 * the cache is a symbolic link, another user's (but root's), or open to everybody. Old versions stay
 * until somebody removes their folders, which is safe at any time when nobody reads them. options and
 * settings may be NULL. Blocks. */
STREAMER_API streamer_status streamer_snapshot(const char *uri, const streamer_pull_options *options,
                                               const streamer_settings *settings,
                                               streamer_operation *operation,
                                               streamer_listing **listing_out,
                                               streamer_error **error_out);

/* ---- Doctor ----------------------------------------------------------------------------------- */

/* One step on the way to a URI's bytes. Pointers are valid during the call only. */
typedef struct streamer_step_info {
  size_t struct_size;
  const char *name;   /* "endpoint", "credentials", "list" */
  const char *detail; /* what was found, or what failed and what to do; never a secret */
  uint64_t elapsed_ns;
  streamer_status status; /* STREAMER_OK, or the kind of the failure */
} streamer_step_info;
#define STREAMER_STEP_INFO_INIT {sizeof(streamer_step_info), 0, 0, 0, 0}
STREAMER_API void streamer_step_info_init(streamer_step_info *made, size_t size);

/* Called on the thread that called streamer_diagnose(); must not throw or jump out. */
typedef void (*streamer_step_callback)(const streamer_step_info *step, void *user);

/* Tries everything on the way to the bytes of uri, one step after the other: settings, endpoint,
 * addresses, connection, credentials, list, stat, one ranged read. The first failure ends it and is
 * returned; only a listing that is refused does not keep the steps behind it from being tried.
 * settings may be NULL. Blocks. */
STREAMER_API streamer_status streamer_diagnose(const char *uri, const streamer_settings *settings,
                                               streamer_operation *operation,
                                               streamer_step_callback callback, void *user,
                                               streamer_error **error_out);

/* ---- Devices ---------------------------------------------------------------------------------- */

/* Whose memory something is in. kind: STREAMER_DEVICE_HOST, or what DLPack calls the device
 * (DLDeviceType of dlpack.h). number: that of the kind's runtime, which counts what it is shown
 * (CUDA_VISIBLE_DEVICES); 0 for the host. */
typedef struct streamer_device {
  int32_t kind; /* STREAMER_DEVICE_* */
  int32_t number;
} streamer_device;
#define STREAMER_DEVICE_HOST 0
#define STREAMER_DEVICE_CUDA 2

/* "host" or "cpu"; "cuda", "cuda:1", or another kind that this library was built for.
 * STREAMER_ERROR_INVALID_ARGUMENT names the kinds. Whether the device is there is not looked at. */
STREAMER_API streamer_status streamer_device_parse(const char *text, streamer_device *device_out,
                                                   streamer_error **error_out);
/* "cuda" for a device of that kind, "host" for the host; "unknown" for a kind that this library was not
 * built for. Static storage. */
STREAMER_API const char *streamer_device_kind_name(int32_t kind);
/* How fast pinned host memory is copied to the device, in bytes per second, by the calls that a load
 * makes and nothing else: the ceiling of every load to it. Takes half a second and 64 MiB of the
 * device. */
STREAMER_API streamer_status streamer_device_copy_rate(streamer_device device,
                                                       double *bytes_per_second_out,
                                                       streamer_error **error_out);
/* Gives back to the system the pinned memory that loads to devices keep for the next one (the setting
 * debug.staging_bytes, for each device); returns how many bytes that was. */
STREAMER_API uint64_t streamer_trim(void);

/* ---- Checkpoint ------------------------------------------------------------------------------- */

/* One or more safetensors objects read as one set of tensors, each pinned to the version it had when
 * it was opened. Immutable: any number of threads and loads may use it at once. Loads and tensors
 * keep what they need of it, so it may be closed while they live. */
typedef struct streamer_checkpoint streamer_checkpoint;

/* uris: count of them; each a safetensors file, a directory or prefix, or a shard index
 * (*.safetensors.index.json, or of a variant *.safetensors.index.fp16.json). Files are taken as they
 * are named. Of a directory one whole model is taken: the shards of its index, else its *.safetensors
 * files; a shard or a part ("-00002-of-00007") that is missing, a link that leads nowhere, two models
 * among which nothing chooses are errors. Other forms of the same model (consolidated* beside model*,
 * variants) and what is no part of it (adapter_model*, optimizer*, training_*) are left out, which
 * streamer_checkpoint_notes() tells. A hub's cache (models--org--name) is the snapshot that its
 * refs/main names. Reads the headers only, those of many objects at once, and checks every rule of
 * the format; blocks meanwhile. settings may be NULL. */
STREAMER_API streamer_status streamer_checkpoint_open(const char *const *uris, size_t count,
                                                      const streamer_settings *settings,
                                                      streamer_operation *operation,
                                                      streamer_checkpoint **checkpoint_out,
                                                      streamer_error **error_out);
/* The same for a sharded state, of which each rank has files of its own: opens rank's parts under
 * folder, from part 0 on. pattern is a file's name with {rank} and {part}, each once; NULL:
 * "model-rank-{rank}-part-{part}.safetensors". STREAMER_ERROR_NOT_FOUND if there is no part,
 * STREAMER_ERROR_CORRUPT if one is missing between others. */
STREAMER_API streamer_status streamer_checkpoint_open_rank(const char *folder, const char *pattern,
                                                           uint32_t rank,
                                                           const streamer_settings *settings,
                                                           streamer_operation *operation,
                                                           streamer_checkpoint **checkpoint_out,
                                                           streamer_error **error_out);
/* Bytes [offset, offset + bytes) of an object of any kind. */
typedef struct streamer_object_range {
  size_t struct_size;
  const char *uri;
  uint64_t offset;
  uint64_t bytes;
} streamer_object_range;
#define STREAMER_OBJECT_RANGE_INIT {sizeof(streamer_object_range), 0, 0, 0}
STREAMER_API void streamer_object_range_init(streamer_object_range *made, size_t size);
/* The same for files that are not safetensors: range i (they stand ranges[0].struct_size bytes apart)
 * is the tensor of name "i", U8, one row. A range beyond its object's end is
 * STREAMER_ERROR_INVALID_ARGUMENT. */
STREAMER_API streamer_status streamer_checkpoint_open_ranges(const streamer_object_range *ranges,
                                                             size_t count,
                                                             const streamer_settings *settings,
                                                             streamer_operation *operation,
                                                             streamer_checkpoint **checkpoint_out,
                                                             streamer_error **error_out);
STREAMER_API void streamer_checkpoint_close(streamer_checkpoint *checkpoint);
/* What of a directory was left out, and why: one line each, "" if nothing was. Also in the notes of
 * streamer_load_stats, and in the log. Lives as long as the checkpoint. */
STREAMER_API const char *streamer_checkpoint_notes(const streamer_checkpoint *checkpoint);

#define STREAMER_DTYPE_F4 1
#define STREAMER_DTYPE_F6_E2M3 2
#define STREAMER_DTYPE_F6_E3M2 3
#define STREAMER_DTYPE_BOOL 4
#define STREAMER_DTYPE_U8 5
#define STREAMER_DTYPE_I8 6
#define STREAMER_DTYPE_F8_E5M2 7
#define STREAMER_DTYPE_F8_E4M3 8
#define STREAMER_DTYPE_F8_E8M0 9
#define STREAMER_DTYPE_F8_E4M3FNUZ 10
#define STREAMER_DTYPE_F8_E5M2FNUZ 11
#define STREAMER_DTYPE_I16 12
#define STREAMER_DTYPE_U16 13
#define STREAMER_DTYPE_F16 14
#define STREAMER_DTYPE_BF16 15
#define STREAMER_DTYPE_I32 16
#define STREAMER_DTYPE_U32 17
#define STREAMER_DTYPE_F32 18
#define STREAMER_DTYPE_C64 19
#define STREAMER_DTYPE_F64 20
#define STREAMER_DTYPE_I64 21
#define STREAMER_DTYPE_U64 22

/* "BF16", as safetensors spells it; NULL for a number that is no dtype. Static storage. */
STREAMER_API const char *streamer_dtype_name(int32_t dtype);
/* Bits of one element (4, 6, 8 .. 64); 0 for a number that is no dtype. */
STREAMER_API uint32_t streamer_dtype_bits(int32_t dtype);

/* One tensor as it is stored. Pointers live as long as the checkpoint. */
typedef struct streamer_tensor_info {
  size_t struct_size;
  const char *name; /* NUL-terminated; a name may itself hold NULs, so trust name_size */
  size_t name_size;
  int32_t dtype; /* STREAMER_DTYPE_* */
  uint32_t rank; /* number of dimensions; 0: a scalar */
  const uint64_t *shape;
  uint64_t bytes;
  size_t object;          /* index of its object */
  uint64_t object_offset; /* of its first byte in the object */
} streamer_tensor_info;
#define STREAMER_TENSOR_INFO_INIT {sizeof(streamer_tensor_info), 0, 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_tensor_info_init(streamer_tensor_info *made, size_t size);

/* Tensors are numbered from 0 in storage order: by object, then by offset, then by name. */
STREAMER_API size_t streamer_checkpoint_tensor_count(const streamer_checkpoint *checkpoint);
/* Bytes of all tensors together. */
STREAMER_API uint64_t streamer_checkpoint_bytes(const streamer_checkpoint *checkpoint);
STREAMER_API streamer_status streamer_checkpoint_get_tensor_info(const streamer_checkpoint *checkpoint,
                                                                 size_t tensor,
                                                                 streamer_tensor_info *info_out,
                                                                 streamer_error **error_out);
/* The number of the tensor of that name; STREAMER_ERROR_NOT_FOUND if there is none. */
STREAMER_API streamer_status streamer_checkpoint_find(const streamer_checkpoint *checkpoint,
                                                      const char *name, size_t name_size,
                                                      size_t *tensor_out, streamer_error **error_out);

/* One stored file of the checkpoint. Pointers live as long as the checkpoint. */
typedef struct streamer_object_info {
  size_t struct_size;
  const char *uri;
  uint64_t bytes;
  uint64_t header_bytes;   /* of the JSON header, without the 8 bytes that hold its length */
  size_t tensor_count;
  size_t metadata_count;   /* entries of its __metadata__ */
} streamer_object_info;
#define STREAMER_OBJECT_INFO_INIT {sizeof(streamer_object_info), 0, 0, 0, 0, 0}
STREAMER_API void streamer_object_info_init(streamer_object_info *made, size_t size);

STREAMER_API size_t streamer_checkpoint_object_count(const streamer_checkpoint *checkpoint);
STREAMER_API streamer_status streamer_checkpoint_get_object_info(const streamer_checkpoint *checkpoint,
                                                                 size_t object,
                                                                 streamer_object_info *info_out,
                                                                 streamer_error **error_out);
/* One entry of an object's __metadata__, in the order of the file; both strings live as long as the
 * checkpoint. */
STREAMER_API streamer_status streamer_checkpoint_get_metadata(const streamer_checkpoint *checkpoint,
                                                              size_t object, size_t entry,
                                                              const char **key_out,
                                                              const char **value_out,
                                                              streamer_error **error_out);

/* ---- Plan ------------------------------------------------------------------------------------- */

/* What a load shall bring, and where to: a list of items. Made from a checkpoint, filled by its one
 * owner, then given to any number of loads. */
typedef struct streamer_plan streamer_plan;

#define STREAMER_PART_WHOLE 0 /* the whole tensor */
#define STREAMER_PART_SLICE 1 /* [slice_start, slice_stop) along dimension slice_dimension */
#define STREAMER_PART_BYTES 2 /* bytes [bytes_offset, bytes_offset + bytes_size) of the tensor */

typedef struct streamer_plan_item {
  size_t struct_size;
  size_t tensor; /* its number in the checkpoint */
  int32_t part;  /* STREAMER_PART_* */
  uint32_t slice_dimension;
  uint64_t slice_start;
  uint64_t slice_stop;
  uint64_t bytes_offset;
  uint64_t bytes_size;
  /* Where the bytes shall land: memory of the caller that stays valid until the load ended, with at
   * least as many bytes as the part has. NULL: memory of the library. */
  void *destination;
  size_t destination_bytes;
  uint64_t tag; /* the caller's own; comes back with the tensor */
  /* Whose memory: destination's, or the library's; the host without a destination is what the load's
   * options say. A destination on a device may not be used by anybody until its tensor was yielded. */
  streamer_device device;
} streamer_plan_item;
#define STREAMER_PLAN_ITEM_INIT {sizeof(streamer_plan_item), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0, 0}}
STREAMER_API void streamer_plan_item_init(streamer_plan_item *made, size_t size);

STREAMER_API streamer_status streamer_plan_new(const streamer_checkpoint *checkpoint,
                                               streamer_plan **plan_out, streamer_error **error_out);
/* Adds count items that stand items[0].struct_size bytes apart. All or, on an error, none. An item
 * that is out of the tensor's bounds, a slice of a sub-byte dtype that does not fall on bytes, and a
 * destination that is too small are STREAMER_ERROR_INVALID_ARGUMENT. The same tensor may be added
 * several times. */
STREAMER_API streamer_status streamer_plan_add(streamer_plan *plan, const streamer_plan_item *items,
                                               size_t count, streamer_error **error_out);
/* Adds every tensor whose name matches (fnmatch: * ? [..]; * also crosses '/' and '.'), in storage
 * order. NULL or "*" adds all. *added_out, if not NULL, is how many; none is not an error. */
STREAMER_API streamer_status streamer_plan_add_matching(streamer_plan *plan, const char *glob,
                                                        size_t *added_out,
                                                        streamer_error **error_out);
/* Gives every item added so far, and none other may be there or come with one, its place in one buffer
 * of the caller on the host: packed in the order of the items, each at a multiple of alignment (a
 * power of two up to 4096; 0: 64) from the buffer's start. Ask streamer_plan_buffer_bytes() for the
 * size first. The plan takes no further item after that. */
STREAMER_API streamer_status streamer_plan_set_buffer(streamer_plan *plan, void *buffer, size_t bytes,
                                                      size_t alignment, streamer_error **error_out);
STREAMER_API uint64_t streamer_plan_buffer_bytes(const streamer_plan *plan, size_t alignment);
STREAMER_API size_t streamer_plan_item_count(const streamer_plan *plan);
/* Bytes of all items together. */
STREAMER_API uint64_t streamer_plan_bytes(const streamer_plan *plan);
STREAMER_API void streamer_plan_free(streamer_plan *plan);

/* ---- Load ------------------------------------------------------------------------------------- */

/* One pass that brings a plan's items to memory. */
typedef struct streamer_load streamer_load;

/* How items come out of streamer_load_next(). */
#define STREAMER_ORDER_COMPLETION 0 /* as soon as each one's last byte is there */
#define STREAMER_ORDER_PLAN 1       /* in the order in which the load reads */

/* In which order the load reads. */
#define STREAMER_READ_STORAGE_ORDER 0 /* by object and offset: the fastest */
#define STREAMER_READ_ITEM_ORDER 1    /* as the items were added */

/* What streamer_load_next() does when the memory limit is used up by tensors that the caller holds, so
 * that nothing can become ready until one is released. */
#define STREAMER_WHEN_FULL_FAIL 0 /* STREAMER_ERROR_MEMORY_LIMIT; release, then call it again */
#define STREAMER_WHEN_FULL_WAIT 1 /* waits, for another thread to release or for the timeout */

struct streamer_communicator;

typedef struct streamer_load_options {
  size_t struct_size;
  int32_t order;      /* STREAMER_ORDER_* */
  int32_t read_order; /* STREAMER_READ_* */
  int32_t when_full;  /* STREAMER_WHEN_FULL_* */
  /* Where items go that name neither a destination nor a device. */
  streamer_device device;
  /* A stream of that device (cudaStream_t), valid until the load ended, or NULL: a tensor's bytes are
   * then there for every stream once it is yielded. Else a tensor is yielded as soon as its copies are on
   * their way, and what the caller puts into the stream from then on finds its bytes there; the host
   * waits for nothing. Tensors on other devices are as without it. */
  void *stream;
  /* The ranks that share the load, or NULL: see "Ranks". Must outlive the load. */
  const struct streamer_communicator *communicator;
} streamer_load_options;
#define STREAMER_LOAD_OPTIONS_INIT {sizeof(streamer_load_options), 0, 0, 0, {0, 0}, 0, 0}
STREAMER_API void streamer_load_options_init(streamer_load_options *made, size_t size);

/* Starts reading and returns at once; what a device needs is made in the background, and what fails
 * then is the load's error. plan, options (NULL: the defaults) and settings (may be NULL) are copied.
 * Settings of the store or of the checkpoint, and credentials, belong to the call that opens the
 * checkpoint: here they are STREAMER_ERROR_INVALID_ARGUMENT.
 * A memory limit below the largest item that needs memory of the library is
 * STREAMER_ERROR_MEMORY_LIMIT and names the tensor and both sizes. A device that cannot be used is
 * STREAMER_ERROR_DEVICE and says why. The caller's current device stays what it was. */
STREAMER_API streamer_status streamer_load_start(const streamer_plan *plan,
                                                 const streamer_load_options *options,
                                                 const streamer_settings *settings,
                                                 streamer_load **load_out, streamer_error **error_out);

typedef struct streamer_tensor streamer_tensor;

/* Waits up to timeout_ms (negative: without end; 0: not at all) for the next item and yields it:
 * STREAMER_OK stores a tensor that the caller owns, STREAMER_NOT_READY and STREAMER_END store nothing.
 * Each item is yielded exactly once. The first error of a load ends it: every later call returns the
 * same error; STREAMER_ERROR_MEMORY_LIMIT alone leaves the load going. One thread at a time. */
STREAMER_API streamer_status streamer_load_next(streamer_load *load, int64_t timeout_ms,
                                                streamer_tensor **tensor_out,
                                                streamer_error **error_out);
/* The same for several at once, which spares languages for which a call is dear: waits for the first
 * as streamer_load_next() does, and yields with it what else is ready, up to capacity (at least 1).
 * Stores handles and, if views_out is not NULL, views (views_out[0].struct_size bytes apart; each
 * struct_size is set by the caller), and how many there are. */
struct streamer_tensor_view;
STREAMER_API streamer_status streamer_load_next_many(streamer_load *load, int64_t timeout_ms,
                                                     size_t capacity,
                                                     streamer_tensor **tensors_out,
                                                     struct streamer_tensor_view *views_out,
                                                     size_t *count_out,
                                                     streamer_error **error_out);
/* For event loops (epoll, asyncio, tokio, Go): a descriptor that is readable when streamer_load_next()
 * may have a tensor, an error or the end. Call that with a timeout of 0 then, until it returns
 * STREAMER_NOT_READY, which makes the descriptor unreadable until there is news, or STREAMER_END. It is
 * the load's: watch it, and neither read nor close it. On the thread of streamer_load_next(). */
STREAMER_API streamer_status streamer_load_fd(streamer_load *load, int *fd_out,
                                              streamer_error **error_out);
/* Stops reading; a streamer_load_next() under way or to come returns STREAMER_ERROR_CANCELLED. Returns
 * at once; memory of the caller may still be written until streamer_load_free() returned.
 * Thread-safe, also beside streamer_load_next(). */
STREAMER_API void streamer_load_cancel(streamer_load *load);
/* Cancels what is left and waits for the reads under way to land: afterwards no memory of the caller
 * is written. Tensors that were yielded stay valid. */
STREAMER_API void streamer_load_free(streamer_load *load);

/* How far a load is, and what held it back. Taken while the load runs this is a snapshot. */
typedef struct streamer_load_stats {
  size_t struct_size;
  uint64_t items_total;
  uint64_t items_ready;
  uint64_t bytes_total;      /* of the items */
  uint64_t bytes_ready;      /* of the items that are ready */
  uint64_t bytes_read;       /* from storage, with those read beside the items */
  uint64_t elapsed_ns;       /* from the start to the last byte, or to now */
  uint64_t memory_limit;     /* in force; UINT64_MAX: none */
  uint64_t readers;
  uint64_t objects;          /* files and objects that the load reads */
  uint64_t objects_verified; /* of objects: found to be what was stored; see the setting verify */
  uint32_t rank;
  uint32_t ranks;            /* that share the load; 1: it is of this process alone */
  uint32_t held_back_by;     /* STREAMER_HELD_BACK_BY_* */
  const char *notes;         /* what was not to be had and what was done instead, one line each,
                              * without a secret; lives as long as the load */
} streamer_load_stats;
#define STREAMER_LOAD_STATS_INIT \
  {sizeof(streamer_load_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_load_stats_init(streamer_load_stats *made, size_t size);

/* What held a load back: where its readers, or failing that its consumer, spent the time. */
#define STREAMER_HELD_BACK_BY_NOTHING 0
#define STREAMER_HELD_BACK_BY_STORAGE 1
#define STREAMER_HELD_BACK_BY_CPU 2
#define STREAMER_HELD_BACK_BY_MEMORY_LIMIT 3
#define STREAMER_HELD_BACK_BY_CONSUMER 4
#define STREAMER_HELD_BACK_BY_DEVICE_COPY 5
#define STREAMER_HELD_BACK_BY_BANDWIDTH_CAP 6

/* "storage", "memory limit"; "unknown" for what this version does not know. Static storage. */
STREAMER_API const char *streamer_held_back_by_name(uint32_t held_back_by);

/* Thread-safe, also beside streamer_load_next(). */
STREAMER_API void streamer_load_get_stats(const streamer_load *load, streamer_load_stats *stats_out);

/* Everything that a load counts, by name: the numbers of streamer_load_stats and those that explain
 * them, such as bytes_direct, network_requests or window_wait_ns. Names end in _ns for nanoseconds, and
 * begin with bytes_ or end in _bytes for bytes. Those that streamer_load_stats does not have may go,
 * and others come, with any version. Strings are static. Thread-safe. */
typedef struct streamer_stat_info {
  size_t struct_size;
  const char *name;
  const char *meaning;
} streamer_stat_info;
#define STREAMER_STAT_INFO_INIT {sizeof(streamer_stat_info), 0, 0}
STREAMER_API void streamer_stat_info_init(streamer_stat_info *made, size_t size);

STREAMER_API size_t streamer_stat_count(void);
/* STREAMER_ERROR_INVALID_ARGUMENT for an index that is not below the count. */
STREAMER_API streamer_status streamer_stat_get_info(size_t index, streamer_stat_info *info_out,
                                                    streamer_error **error_out);
/* One of them; STREAMER_ERROR_NOT_FOUND for an unknown name. */
STREAMER_API streamer_status streamer_load_get_stat(const streamer_load *load, const char *name,
                                                    uint64_t *value_out, streamer_error **error_out);
/* The first `count` of them, by index, all of the same moment; returns how many there are. */
STREAMER_API size_t streamer_load_get_all_stats(const streamer_load *load, uint64_t *values_out,
                                                size_t count);

/* ---- Tensor ----------------------------------------------------------------------------------- */

/* One yielded item. Pointers live as long as the tensor. */
typedef struct streamer_tensor_view {
  size_t struct_size;
  const char *name;
  size_t name_size;
  int32_t dtype;
  uint32_t rank;
  const uint64_t *shape; /* of the part: a slice's dimension is cut; a byte range is one U8 row */
  void *data;            /* the bytes, row-major and dense, in the device's memory; NULL: none */
  uint64_t bytes;
  streamer_device device;
  size_t tensor; /* its number in the checkpoint */
  size_t item;   /* its number in the plan */
  uint64_t tag;  /* of the plan's item */
  int32_t part;  /* STREAMER_PART_* */
} streamer_tensor_view;
#define STREAMER_TENSOR_VIEW_INIT \
  {sizeof(streamer_tensor_view), 0, 0, 0, 0, 0, 0, 0, {0, 0}, 0, 0, 0, 0}
STREAMER_API void streamer_tensor_view_init(streamer_tensor_view *made, size_t size);

/* Any number of threads at once. The memory may be written by its holder; it is never written by the
 * library again while the tensor, or a DLPack export of it, lives. */
STREAMER_API void streamer_tensor_get_view(const streamer_tensor *tensor,
                                           streamer_tensor_view *view_out);
/* Gives the tensor's memory back to the load. From any thread, also after the load ended. Work that is
 * still queued on its device may use it; if device_memory_limit is set, only in the options' stream. */
STREAMER_API void streamer_tensor_release(streamer_tensor *tensor);

/* DLPack (dlpack.h has the types). The export holds the memory until its deleter is called, from any
 * thread; the tensor may be released before. Dtypes that DLPack does not have, and those of less than
 * 8 bits, come as rows of bytes (uint8). Versioned is DLPack 1.1; the other is the older struct. */
struct DLManagedTensorVersioned;
struct DLManagedTensor;
STREAMER_API streamer_status streamer_tensor_to_dlpack_versioned(
    const streamer_tensor *tensor, struct DLManagedTensorVersioned **managed_out,
    streamer_error **error_out);
STREAMER_API streamer_status streamer_tensor_to_dlpack(const streamer_tensor *tensor,
                                                       struct DLManagedTensor **managed_out,
                                                       streamer_error **error_out);

/* ---- Ranks ------------------------------------------------------------------------------------ */

/* Processes that load from the same checkpoint, all of it or each a part, may share the load: each
 * byte that any of them needs is read once between them and passed on. Every rank opens the
 * checkpoint, makes its own plan, and starts its load with a communicator of the same ranks;
 * streamer_load_start() then waits for all of them. Items come in an order of their own, not by the
 * options' order, which is the same on all ranks that need the same; STREAMER_END comes when all
 * ranks have what they need. An error of one rank, streamer_load_free() before the end among them,
 * is the error of all, and names the rank; one that does not come within distributed_timeout_s is an
 * error too. Items must be in the memory that the communicator passes bytes on in. The setting
 * verify is STREAMER_ERROR_UNSUPPORTED. With one rank nothing is passed on, and none of the
 * functions below is called. */

/* Bytes that go to a rank, or that come from one. */
typedef struct streamer_outgoing {
  const void *data;
  uint64_t bytes;
  uint32_t rank;
} streamer_outgoing;
typedef struct streamer_incoming {
  void *data;
  uint64_t bytes;
  uint32_t rank;
} streamer_incoming;

/* How ranks reach each other. Made by the functions below, or by the caller, over whatever its ranks
 * already use. The functions are collective: every rank calls them in the same order, one at a time,
 * on a thread of the library or of streamer_load_start(). They return STREAMER_OK when all of it is
 * there, or an error (STREAMER_ERROR_TIMED_OUT if a rank did not come within timeout_ms,
 * STREAMER_ERROR_IO if one is gone) and then put text, which should name the rank, into why
 * (why_size bytes with its NUL). They must not throw or jump out. After an error no load may use the
 * communicator any more, and memory of that call is left allocated, because transfers may still be
 * under way. */
typedef struct streamer_communicator {
  size_t struct_size;
  uint32_t rank; /* from 0 to size - 1 */
  uint32_t size;
  streamer_device device; /* where memory of all_to_all() is */
  void *context; /* given to each function */
  /* Host memory: `bytes` of each rank, to all + rank * bytes. */
  streamer_status (*all_gather)(void *context, const void *mine, void *all, uint64_t bytes,
                                uint64_t timeout_ms, char *why, size_t why_size);
  /* send[0 .. send_count - 1] go to other ranks, receive[...] come from others; none is empty. The n-th
   * that goes from one rank to another is the n-th that the other expects from it, of the same size.
   * On a device, what goes is there when this is called. */
  streamer_status (*all_to_all)(void *context, const streamer_outgoing *send, size_t send_count,
                                const streamer_incoming *receive, size_t receive_count,
                                uint64_t timeout_ms, char *why, size_t why_size);
  void (*close)(void *context); /* called by streamer_communicator_close(); may be NULL */
} streamer_communicator;
#define STREAMER_COMMUNICATOR_INIT {sizeof(streamer_communicator), 0, 0, {0, 0}, 0, 0, 0, 0}
STREAMER_API void streamer_communicator_init(streamer_communicator *made, size_t size);

/* Over MPI, in host memory. comm is the address of an MPI_Comm, or NULL for MPI_COMM_WORLD; of its
 * ranks, those on this machine, unless the setting distributed_scope says all. Collective over comm.
 * MPI is loaded now (libstreamer_mpi.so, see the setting distributed_mpi) and started if nobody did;
 * it must allow calls from several threads in turn (MPI_THREAD_SERIALIZED).
 * STREAMER_ERROR_UNSUPPORTED says what is missing. settings may be NULL. */
STREAMER_API streamer_status streamer_communicator_open_mpi(
    const void *comm, const streamer_settings *settings, streamer_communicator **communicator_out,
    streamer_error **error_out);
/* Over NCCL, from device to device: this rank's is device, of kind CUDA. base is what its ranks
 * reach each other by on the host, for what is small; it must outlive this. Collective over base.
 * NCCL is loaded now (see the setting distributed_nccl). settings may be NULL. */
STREAMER_API streamer_status streamer_communicator_open_nccl(
    const streamer_communicator *base, streamer_device device, const streamer_settings *settings,
    streamer_communicator **communicator_out, streamer_error **error_out);
STREAMER_API void streamer_communicator_close(streamer_communicator *communicator);

/* Collective. Every rank says that it is well (mine is NULL), or what went wrong there: for what
 * comes before the load, such as opening the checkpoint. All get the same answer: STREAMER_OK, or
 * the error of the lowest rank that has one, which it names; a rank that has one of its own gets
 * that. settings may be NULL. */
STREAMER_API streamer_status streamer_communicator_agree(const streamer_communicator *communicator,
                                                         const streamer_settings *settings,
                                                         const streamer_error *mine,
                                                         streamer_error **error_out);

#ifdef __cplusplus
}
#endif

#endif /* STREAMER_H_ */
