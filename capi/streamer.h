/* SPDX-License-Identifier: Apache-2.0 */
/* libstreamer moves model weights from storage to memory. This is the C ABI that every binding uses.
 *
 * Conventions:
 *  - Handles are pointers to incomplete structs. Free what a _new function made with _free, and close
 *    everything else with _close, except tensors, which are released. NULL is accepted and ignored.
 *  - A function that can fail returns a streamer_status and takes `streamer_error **error_out` last.
 *    Outputs are written only on success. error_out may be NULL; otherwise a status of 100 or more
 *    stores an error there, owned by the caller (streamer_error_free). Errors are not tied to a thread.
 *  - Statuses below 100 are outcomes, not errors, and store no error.
 *  - Several threads may use a const handle at once; any other handle is for one thread at a time,
 *    unless stated otherwise. Functions without a handle are thread-safe.
 *  - Structs begin with struct_size and only grow at the end. Always initialize them with the
 *    STREAMER_*_INIT macro or, in languages without macros, with the function of the same name:
 *    streamer_plan_item_init(&item, sizeof item). When the library fills a struct, it writes no byte
 *    beyond struct_size. A struct_size that ends within a field is refused; by functions that cannot
 *    report an error, nothing is written.
 *  - Input strings are UTF-8, NUL-terminated and copied. Output strings are UTF-8 and borrowed: they
 *    live as long as the handle that returned them, or forever if no handle did.
 *  - Sizes and offsets are bytes. Ranges are half-open: [offset, offset + size).
 *  - settings and operation may be NULL wherever they are parameters.
 *  - No function throws, prints, ends the process, installs signal handlers or changes the locale.
 *  - After fork() only the parent may use loads; in the child, calls on loads and their tensors fail
 *    with STREAMER_ERROR_UNSUPPORTED or do nothing, except those that only look.
 *  - Once it is loaded the library stays until the process ends: dlclose() does not unload it.
 *
 * Everything exists since 0.1 unless stated otherwise. Only this header is guaranteed. */
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
#define STREAMER_VERSION_MINOR 2
#define STREAMER_VERSION_PATCH 0
/* major * 1000000 + minor * 1000 + patch, as streamer_version() returns it. */
#define STREAMER_VERSION_NUMBER 2000

/* The version of the library at run time, which may be newer than this header. */
STREAMER_API uint32_t streamer_version(void);
/* The same version as text: "MAJOR.MINOR.PATCH". */
STREAMER_API const char *streamer_version_string(void);
/* What is in this build, for humans: lines "NAME: VALUE". Since 0.2. */
STREAMER_API const char *streamer_build_info(void);

/* ---- Status and errors ------------------------------------------------------------------------ */

typedef int32_t streamer_status;

/* Outcomes. */
#define STREAMER_OK 0
#define STREAMER_END 1       /* every item of the load has been yielded */
#define STREAMER_NOT_READY 2 /* nothing was ready within the timeout; the load goes on */

/* Errors. Each kind is one the caller can act on: 1xx concern the call, 2xx the store, 3xx the
 * content, 4xx this machine; 900 is a bug. Values are never reused, and later versions may add some. */
#define STREAMER_ERROR_INVALID_ARGUMENT 100 /* the call or a setting is wrong */
#define STREAMER_ERROR_UNSUPPORTED 101 /* not supported by this build or this system */
#define STREAMER_ERROR_CANCELLED 102 /* the caller cancelled it */
#define STREAMER_ERROR_MEMORY_LIMIT 103 /* the memory limit leaves too little room */
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

/* "not_found" for 200, "ok" for 0, "unknown" for a value unknown to this version. */
STREAMER_API const char *streamer_status_name(streamer_status status);

typedef struct streamer_error streamer_error;

/* Strings are never NULL; an empty string means "none". */
typedef struct streamer_error_info {
  size_t struct_size;
  streamer_status status;
  int32_t os_error;     /* errno, 0: none */
  int32_t http_status;  /* 0: none */
  uint32_t attempts;    /* at least 1 */
  const char *message;  /* what was tried, what happened, what to do; without URI and range */
  const char *uri;      /* the object */
  uint64_t range_offset;
  uint64_t range_size; /* 0: the error is about the whole object */
  const char *service_code;
  const char *request_id;
  const char *host;    /* of the endpoint the request went to */
  uint64_t elapsed_ms; /* from the first attempt to the last; 0: not measured */
} streamer_error_info;
#define STREAMER_ERROR_INFO_INIT {sizeof(streamer_error_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_error_info_init(streamer_error_info *made, size_t size);

STREAMER_API void streamer_error_get_info(const streamer_error *error, streamer_error_info *info_out);
/* "URI bytes A-B: message", as one line. */
STREAMER_API const char *streamer_error_line(const streamer_error *error);
STREAMER_API void streamer_error_free(streamer_error *error);
/* Makes an error of the caller's, for streamer_communicator_agree(). status: a STREAMER_ERROR_*. NULL
 * if memory is short. */
STREAMER_API streamer_error *streamer_error_new(streamer_status status, const char *message);

/* ---- Log -------------------------------------------------------------------------------------- */

#define STREAMER_LOG_TRACE 0
#define STREAMER_LOG_DEBUG 1
#define STREAMER_LOG_INFO 2
#define STREAMER_LOG_WARNING 3
#define STREAMER_LOG_ERROR 4
#define STREAMER_LOG_OFF 5

/* line has no newline and is valid only during the call. Called on any thread of the library or the
 * caller, one call at a time; must not call into libstreamer, throw, or leave by longjmp(). */
typedef void (*streamer_log_callback)(int32_t level, const char *line, void *user);

/* Replaces the process's log callback; NULL or STREAMER_LOG_OFF turns logging off. Until the first
 * call the environment decides: STREAMER_LOG_FILE (a path or stderr; default: no log) and
 * STREAMER_LOG_LEVEL (trace, debug, info, warning, error; default: warning). Once it returns, the
 * previous callback is no longer running. */
STREAMER_API void streamer_log_set(int32_t level, streamer_log_callback callback, void *user);

/* ---- Settings --------------------------------------------------------------------------------- */

/* Everything that can be tuned, by name. A value set here wins over the environment, which is read
 * when an operation starts; the environment wins over the default. A load inherits the settings its
 * checkpoint was opened with; settings given to the load itself win over those. */
typedef struct streamer_settings streamer_settings;

STREAMER_API streamer_status streamer_settings_new(streamer_settings **settings_out,
                                                   streamer_error **error_out);
/* STREAMER_ERROR_INVALID_ARGUMENT for an unknown name or a value the setting does not allow. */
STREAMER_API streamer_status streamer_settings_set(streamer_settings *settings, const char *name,
                                                   const char *value, streamer_error **error_out);
/* Sets a store setting only for URIs that begin with uri_prefix ("s3://bucket/",
 * "s3://bucket/team/"): wins over a value without a prefix and over one with a shorter prefix. */
STREAMER_API streamer_status streamer_settings_set_for(streamer_settings *settings,
                                                       const char *uri_prefix, const char *name,
                                                       const char *value,
                                                       streamer_error **error_out);

/* What a callback returns: keys for s3://, a bearer token for gs:// and az://. The strings are copied
 * when the callback returns. */
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

/* Fills credentials_out and returns 0, or returns another number, which the error then reports. Called
 * on any thread, when credentials are first needed, before they expire and when the store no longer
 * accepts them; must not call into libstreamer, throw, or leave by longjmp(). */
typedef int32_t (*streamer_credentials_callback)(streamer_credentials *credentials_out, void *user);

/* Asks the callback instead of searching for credentials, for s3://, gs:// and az:// URIs that begin
 * with uri_prefix ("": all of them); hf:// and https:// take the settings hf_token and
 * https_bearer_token. user must stay valid for as long as anything opened with these settings
 * exists. */
STREAMER_API streamer_status streamer_settings_set_credentials_callback(
    streamer_settings *settings, const char *uri_prefix, streamer_credentials_callback callback,
    void *user, streamer_error **error_out);
STREAMER_API void streamer_settings_free(streamer_settings *settings);

/* One row of the settings table. Strings are static; compatible_variable may be NULL. Settings named
 * debug.* are for troubleshooting: any version may change or drop them. */
typedef struct streamer_setting_info {
  size_t struct_size;
  const char *name;
  const char *variable;            /* the environment variable */
  const char *compatible_variable; /* read if the first is not set */
  const char *default_value;
  const char *values; /* the values it accepts */
  const char *meaning;
  int32_t is_secret; /* 1: its value never appears in the library's texts */
  const char *scope; /* what it applies to: store, checkpoint, load, ranks, call */
} streamer_setting_info;
#define STREAMER_SETTING_INFO_INIT {sizeof(streamer_setting_info), 0, 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_setting_info_init(streamer_setting_info *made, size_t size);

STREAMER_API size_t streamer_setting_count(void);
/* STREAMER_ERROR_INVALID_ARGUMENT for an index that is not below the count. */
STREAMER_API streamer_status streamer_setting_get_info(size_t index, streamer_setting_info *info_out,
                                                       streamer_error **error_out);

/* ---- Operation -------------------------------------------------------------------------------- */

/* Cancels calls that wait for a store, or limits their time. Any number of calls may share one, one
 * after another or at once; it must outlive them. Everything except freeing it is thread-safe. The
 * setting operation_timeout_ms limits each call by itself, with or without an operation. */
typedef struct streamer_operation streamer_operation;

/* timeout_ms counts from now, for all calls of the operation together, which fail with
 * STREAMER_ERROR_TIMED_OUT afterwards; negative: no limit. */
STREAMER_API streamer_status streamer_operation_new(int64_t timeout_ms,
                                                    streamer_operation **operation_out,
                                                    streamer_error **error_out);
/* Calls in progress end at once; they and all later ones fail with STREAMER_ERROR_CANCELLED, and
 * unfinished files are removed from disk. May be called in a signal handler. */
STREAMER_API void streamer_operation_cancel(streamer_operation *operation);

/* A descriptor that becomes readable when the operation is cancelled, and stays readable: for code that
 * waits alongside its calls, such as an event loop or a credentials callback. The operation owns it:
 * watch it, but neither read nor close it. -1 for NULL. */
STREAMER_API int streamer_operation_fd(const streamer_operation *operation);

/* The progress of an operation's pulls and snapshots. */
typedef struct streamer_progress {
  size_t struct_size;
  uint64_t bytes_total; /* of the selected files */
  uint64_t bytes_done;
  uint64_t bytes_skipped; /* of bytes_done: already present */
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

/* What a store has under a URI, sorted by URI. */
typedef struct streamer_listing streamer_listing;

typedef struct streamer_entry_info {
  size_t struct_size;
  const char *uri;
  uint64_t bytes;   /* 0 for a folder */
  int32_t is_folder; /* 1: a directory or a common prefix; its URI ends in '/' */
  const char *etag;  /* as the store writes it; "" for folders and files, or if the store sends none */
} streamer_entry_info;
#define STREAMER_ENTRY_INFO_INIT {sizeof(streamer_entry_info), 0, 0, 0, 0}
STREAMER_API void streamer_entry_info_init(streamer_entry_info *made, size_t size);

/* Lists what is directly under uri, a directory or a prefix; for a file, the file itself. */
STREAMER_API streamer_status streamer_listing_open(const char *uri, const streamer_settings *settings,
                                                   streamer_operation *operation,
                                                   streamer_listing **listing_out,
                                                   streamer_error **error_out);
/* Lists everything below uri, without folders. */
STREAMER_API streamer_status streamer_listing_open_all(const char *uri,
                                                       const streamer_settings *settings,
                                                       streamer_operation *operation,
                                                       streamer_listing **listing_out,
                                                       streamer_error **error_out);
/* Lists the objects that streamer_checkpoint_open() would open for uri (a model's folder, its index or
 * one file), without reading their headers: for programs that open them themselves. An incomplete model
 * is an error here too; a folder without a model gives an empty listing whose notes say why. Every
 * listed object exists. */
STREAMER_API streamer_status streamer_listing_open_model(const char *uri,
                                                         const streamer_settings *settings,
                                                         streamer_operation *operation,
                                                         streamer_listing **listing_out,
                                                         streamer_error **error_out);
/* For streamer_listing_open_model(): what was left out and why, one line each; otherwise "". */
STREAMER_API const char *streamer_listing_notes(const streamer_listing *listing);
STREAMER_API size_t streamer_listing_count(const streamer_listing *listing);
STREAMER_API streamer_status streamer_listing_get_info(const streamer_listing *listing, size_t index,
                                                       streamer_entry_info *info_out,
                                                       streamer_error **error_out);
/* The URI that was listed; for streamer_listing_open_model(), the folder of the objects. */
STREAMER_API const char *streamer_listing_root(const streamer_listing *listing);
STREAMER_API void streamer_listing_close(streamer_listing *listing);

/* ---- Pull ------------------------------------------------------------------------------------- */

/* Which objects a pull copies. Patterns are those of fnmatch(3), matched against the key and against
 * the path below the URI; '*' also matches '/'. */
typedef struct streamer_pull_options {
  size_t struct_size;
  const char *const *allow; /* if any are given, one must match */
  size_t allow_count;
  const char *const *ignore; /* none may match */
  size_t ignore_count;
} streamer_pull_options;
#define STREAMER_PULL_OPTIONS_INIT {sizeof(streamer_pull_options), 0, 0, 0, 0}
STREAMER_API void streamer_pull_options_init(streamer_pull_options *made, size_t size);

/* The local files of a pull or a snapshot, sorted by path. */
typedef struct streamer_files streamer_files;

typedef struct streamer_file_info {
  size_t struct_size;
  const char *path; /* includes the folder */
  uint64_t bytes;
  const char *etag;  /* of the object, as the store writes it; "" if the store sends none */
  int32_t was_there; /* 1: the file already had the same bytes and was not copied */
} streamer_file_info;
#define STREAMER_FILE_INFO_INIT {sizeof(streamer_file_info), 0, 0, 0, 0}
STREAMER_API void streamer_file_info_init(streamer_file_info *made, size_t size);

STREAMER_API const char *streamer_files_folder(const streamer_files *files);
STREAMER_API size_t streamer_files_count(const streamer_files *files);
STREAMER_API streamer_status streamer_files_get_info(const streamer_files *files, size_t index,
                                                     streamer_file_info *info_out,
                                                     streamer_error **error_out);
STREAMER_API void streamer_files_close(streamer_files *files);

/* Copies every selected object below uri to folder/<its path below uri>, several at once. Makes folders
 * as needed and respects max_bandwidth. A file appears whole under its name or not at all. An existing
 * file is replaced unless its checksum shows that it has the object's bytes: the checksum noted when it
 * was pulled (in the extended attribute user.libstreamer, together with the ETag), the ETag if it is an
 * MD5, or the store's checksum. An error that concerns one object only, such as a name that is not a
 * path below the folder (STREAMER_ERROR_INVALID_ARGUMENT), is returned at the end, when all others are
 * there. options may be NULL. Blocks; see streamer_operation_get_progress(). */
STREAMER_API streamer_status streamer_pull(const char *uri, const char *folder,
                                           const streamer_pull_options *options,
                                           const streamer_settings *settings,
                                           streamer_operation *operation,
                                           streamer_files **files_out,
                                           streamer_error **error_out);

/* Keeps a model's small files (configuration, tokenizer, index) in a local folder, made once for each
 * version of them below the setting cache_folder: the first caller, in any process, pulls them; others
 * wait or find them there. streamer_files_folder() is that folder, which never changes again. A version
 * is one listing of the store: paths, ETags, sizes. Without a pattern everything is pulled except files
 * named like weights (.safetensors, .bin, .pt, .pth, .ckpt, .gguf, .h5, .msgpack, .npz, .onnx,
 * .onnx_data, .tensors); STREAMER_ERROR_NOT_FOUND if nothing is left. A local folder is its own
 * snapshot. SHA-256 sums are kept beside the folder, and files that do not match are pulled again.
 * STREAMER_ERROR_PERMISSION_DENIED if the model's folder in the cache is a symbolic link, belongs to
 * another user (except root) or is writable by everybody. Old versions stay until their folders are
 * removed, which is safe when no process reads them. options may be NULL. Blocks. */
STREAMER_API streamer_status streamer_snapshot(const char *uri, const streamer_pull_options *options,
                                               const streamer_settings *settings,
                                               streamer_operation *operation,
                                               streamer_files **files_out,
                                               streamer_error **error_out);

/* ---- Cached weights --------------------------------------------------------------------------- */

/* One version of an object in the cache of remote weights (setting cache_weights). Pointers are valid
 * only during the callback. */
typedef struct streamer_cached_info {
  size_t struct_size;
  const char *uri;  /* without secrets */
  const char *etag; /* as the store writes it */
  uint64_t object_bytes;
  uint64_t cached_bytes; /* of object_bytes, that are there; 0 once it was removed */
  uint64_t bad_bytes;    /* were not what was written, and were dropped: of STREAMER_CACHE_VERIFY */
  uint64_t disk_bytes;
  int64_t last_used_ns; /* since 1970 */
} streamer_cached_info;
#define STREAMER_CACHED_INFO_INIT {sizeof(streamer_cached_info), 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_cached_info_init(streamer_cached_info *made, size_t size);

/* Called on the thread that asked for it; must not throw or leave by longjmp(). */
typedef void (*streamer_cached_callback)(const streamer_cached_info *version, void *user);

typedef int32_t streamer_cache_task; /* STREAMER_CACHE_* */
#define STREAMER_CACHE_LIST 0
#define STREAMER_CACHE_VERIFY 1 /* reads all that is there and compares checksums */
#define STREAMER_CACHE_REMOVE 2 /* what a load has open it can still read */

/* Does the task for each version in the folder of cache_weights, and calls back after each, the one
 * used least recently first. uri: only for that one, or for those below it if it ends with a slash;
 * NULL: for all. Nothing is asked of a store. Blocks. */
STREAMER_API streamer_status streamer_cache_walk(streamer_cache_task task, const char *uri,
                                                 const streamer_settings *settings,
                                                 streamer_operation *operation,
                                                 streamer_cached_callback callback, void *user,
                                                 streamer_error **error_out);

/* ---- Doctor ----------------------------------------------------------------------------------- */

/* One step of a diagnosis. Pointers are valid only during the callback. */
typedef struct streamer_step_info {
  size_t struct_size;
  const char *name;   /* "endpoint", "credentials", "list" */
  const char *detail; /* what was found, or what failed and what to do; never contains a secret */
  uint64_t elapsed_ns;
  streamer_status status; /* STREAMER_OK, or the kind of the failure */
} streamer_step_info;
#define STREAMER_STEP_INFO_INIT {sizeof(streamer_step_info), 0, 0, 0, 0}
STREAMER_API void streamer_step_info_init(streamer_step_info *made, size_t size);

/* Called on the thread that asked for it; must not throw or leave by longjmp(). */
typedef void (*streamer_step_callback)(const streamer_step_info *step, void *user);

/* Tries each step on the way to the bytes of uri: settings, endpoint, addresses, connection,
 * credentials, list, stat, one ranged read, and opening the model if it is one's. The first failure
 * ends it and is returned, except that the later steps are still tried after a refused listing.
 * Blocks. */
STREAMER_API streamer_status streamer_diagnose(const char *uri, const streamer_settings *settings,
                                               streamer_operation *operation,
                                               streamer_step_callback callback, void *user,
                                               streamer_error **error_out);

/* ---- Devices ---------------------------------------------------------------------------------- */

/* Where memory is. kind: STREAMER_DEVICE_HOST, or DLPack's number for the device
 * (DLDeviceType of dlpack.h). number: as the device's runtime counts the devices visible to it
 * (CUDA_VISIBLE_DEVICES); 0 for the host. */
typedef struct streamer_device {
  int32_t kind; /* STREAMER_DEVICE_* */
  int32_t number;
} streamer_device;
#define STREAMER_DEVICE_HOST 0
#define STREAMER_DEVICE_CUDA 2

/* Parses "host" or "cpu"; "cuda", "cuda:1", or another kind this library was built for.
 * STREAMER_ERROR_INVALID_ARGUMENT names the kinds. Does not check whether the device exists. */
STREAMER_API streamer_status streamer_device_parse(const char *text, streamer_device *device_out,
                                                   streamer_error **error_out);
/* "cuda" for a device of that kind, "host" for the host; "unknown" for a kind that this library was not
 * built for. Static storage. */
STREAMER_API const char *streamer_device_kind_name(int32_t kind);
/* Measures how fast pinned host memory is copied to the device, in bytes per second, using only the
 * calls that a load makes: the ceiling of every load to it. Takes half a second and 64 MiB of device
 * memory. */
STREAMER_API streamer_status streamer_device_copy_rate(streamer_device device,
                                                       double *bytes_per_second_out,
                                                       streamer_error **error_out);
/* As streamer_diagnose(), to a device's memory. Takes about a second, and 64 MiB of that memory. Since
 * 0.2. */
STREAMER_API streamer_status streamer_diagnose_device(
    streamer_device device, streamer_operation *operation, streamer_step_callback callback, void *user,
    streamer_error **error_out);
/* Returns to the system the memory that loads keep for the next one: host memory of released tensors
 * (at most 128 MiB, which the system reclaims by itself when it is short), and the pinned memory of
 * each device. Returns the number of bytes freed. */
STREAMER_API uint64_t streamer_trim(void);

/* ---- The process ------------------------------------------------------------------------------ */

/* Sets what the loads of this process share, by the settings named process_*; those that are not in
 * settings come from the environment. Applies to running loads too. Thread-safe. Errors:
 * STREAMER_ERROR_INVALID_ARGUMENT, also for a setting of anything else. settings may be NULL. */
STREAMER_API streamer_status streamer_process_configure(const streamer_settings *settings,
                                                        streamer_error **error_out);

typedef struct streamer_process_use {
  size_t struct_size;
  uint64_t memory_bytes;       /* host memory that loads hold now, between storage and release */
  uint64_t memory_limit_bytes; /* for all loads with memory_limit=auto; 0: none started yet */
  uint32_t loads;              /* not closed yet, or with tensors not released yet */
  uint32_t network_loads;      /* of these, the ones that are reading over a network */
} streamer_process_use;
#define STREAMER_PROCESS_USE_INIT {sizeof(streamer_process_use), 0, 0, 0, 0}
STREAMER_API void streamer_process_use_init(streamer_process_use *made, size_t size);
/* Thread-safe. */
STREAMER_API void streamer_process_get_use(streamer_process_use *use_out);

/* ---- Checkpoint ------------------------------------------------------------------------------- */

/* One or more safetensors objects as one set of tensors, each object pinned to the version it had when
 * it was opened. Immutable: any number of threads and loads may use it at once. It may be closed before
 * the loads and tensors that came from it. */
typedef struct streamer_checkpoint streamer_checkpoint;

/* Each of the count uris is a safetensors file, a directory or prefix, or a shard index
 * (*.safetensors.index.json, or *.safetensors.index.fp16.json for a variant). Files are opened as
 * named. From a directory one whole model is opened: the shards of its index or, without an index, its
 * *.safetensors files. A missing shard or part ("-00002-of-00007"), a dangling link, and several
 * models with nothing to choose between them are errors. Other forms of the same model
 * (consolidated* beside model*, variants) and files that are not part of it (adapter_model*,
 * optimizer*, training_*) are left out; see streamer_checkpoint_notes(). A hub's cache
 * (models--org--name) stands for the snapshot named by its refs/main. Reads only the headers, many at
 * once, and checks every rule of the format. Blocks. */
STREAMER_API streamer_status streamer_checkpoint_open(const char *const *uris, size_t count,
                                                      const streamer_settings *settings,
                                                      streamer_operation *operation,
                                                      streamer_checkpoint **checkpoint_out,
                                                      streamer_error **error_out);
/* Opens one rank's files of a sharded state: its parts under folder, starting at part 0. pattern is a
 * file name with {rank} and {part}, each once; NULL: "model-rank-{rank}-part-{part}.safetensors".
 * STREAMER_ERROR_NOT_FOUND if there is no part, STREAMER_ERROR_CORRUPT if one in between is missing. */
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
/* Opens files of any kind: range i (ranges are ranges[0].struct_size bytes apart) is the tensor named
 * "i", of dtype U8 and one dimension. STREAMER_ERROR_INVALID_ARGUMENT if a range ends beyond its
 * object. */
STREAMER_API streamer_status streamer_checkpoint_open_ranges(const streamer_object_range *ranges,
                                                             size_t count,
                                                             const streamer_settings *settings,
                                                             streamer_operation *operation,
                                                             streamer_checkpoint **checkpoint_out,
                                                             streamer_error **error_out);
STREAMER_API void streamer_checkpoint_close(streamer_checkpoint *checkpoint);
/* Which files of directories were left out and why, one line each; "" if none were. Also in the notes
 * of streamer_load_stats, and in the log. */
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

/* "BF16", as safetensors spells it; NULL for an unknown dtype. */
STREAMER_API const char *streamer_dtype_name(int32_t dtype);
/* Bits of one element (4, 6, 8 .. 64); 0 for an unknown dtype. */
STREAMER_API uint32_t streamer_dtype_bits(int32_t dtype);

/* One tensor as it is stored. */
typedef struct streamer_tensor_info {
  size_t struct_size;
  const char *name; /* NUL-terminated, but may contain other NULs: rely on name_size */
  size_t name_size;
  int32_t dtype; /* STREAMER_DTYPE_* */
  uint32_t rank; /* number of dimensions; 0: a scalar */
  const uint64_t *shape;
  uint64_t bytes;
  size_t object;          /* index of the object that holds it */
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
/* The same for several tensors in one call: for first, first + 1 and so on, until capacity (at least 1)
 * is reached or no tensor is left. Stores infos (infos_out[0].struct_size bytes apart; the caller sets
 * each struct_size) and their count, which is 0 if first is the number of tensors. All names of a
 * checkpoint lie one behind the other, each with its NUL, and so do all shapes: a binding can copy them
 * as a block. Since 0.2. */
STREAMER_API streamer_status streamer_checkpoint_get_tensor_infos(const streamer_checkpoint *checkpoint,
                                                                  size_t first, size_t capacity,
                                                                  streamer_tensor_info *infos_out,
                                                                  size_t *count_out,
                                                                  streamer_error **error_out);
/* The number of the tensor with that name; STREAMER_ERROR_NOT_FOUND if it does not exist. */
STREAMER_API streamer_status streamer_checkpoint_find(const streamer_checkpoint *checkpoint,
                                                      const char *name, size_t name_size,
                                                      size_t *tensor_out, streamer_error **error_out);

/* One stored file of the checkpoint. */
typedef struct streamer_object_info {
  size_t struct_size;
  const char *uri;
  uint64_t bytes;
  uint64_t header_bytes;   /* of the JSON header, without the 8 bytes of its length */
  size_t tensor_count;
  size_t metadata_count;   /* entries of its __metadata__ */
  /* Differs if the bytes may differ: the ETag of a remote object (its date if the store sends none), or
   * the times and the inode of a file. Since 0.2. */
  const char *version;
} streamer_object_info;
#define STREAMER_OBJECT_INFO_INIT {sizeof(streamer_object_info), 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_object_info_init(streamer_object_info *made, size_t size);

STREAMER_API size_t streamer_checkpoint_object_count(const streamer_checkpoint *checkpoint);
STREAMER_API streamer_status streamer_checkpoint_get_object_info(const streamer_checkpoint *checkpoint,
                                                                 size_t object,
                                                                 streamer_object_info *info_out,
                                                                 streamer_error **error_out);
/* One entry of an object's __metadata__, in the order of the file. */
STREAMER_API streamer_status streamer_checkpoint_get_metadata(const streamer_checkpoint *checkpoint,
                                                              size_t object, size_t entry,
                                                              const char **key_out,
                                                              const char **value_out,
                                                              streamer_error **error_out);

/* ---- Plan ------------------------------------------------------------------------------------- */

/* What a load reads, and where it puts it: a list of items. Filled by one owner, then given to any
 * number of loads. */
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
  /* Where the bytes go: memory of the caller, valid until the load is closed, with room for the
   * part. NULL, with 0 destination_bytes: memory of the library. */
  void *destination;
  size_t destination_bytes;
  uint64_t tag; /* any value of the caller's; comes back with the tensor */
  /* Of destination, or of the library's memory; the host without a destination means the device of the
   * load's options. A destination on a device must not be used before its tensor is yielded, and all
   * work that was queued on it must be done when the load starts. */
  streamer_device device;
  /* Items of a higher priority are read first, in storage order among themselves. Ignored with
   * STREAMER_READ_ITEM_ORDER, and by loads that ranks share. */
  uint32_t priority;
} streamer_plan_item;
#define STREAMER_PLAN_ITEM_INIT {sizeof(streamer_plan_item), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0, 0}, 0}
STREAMER_API void streamer_plan_item_init(streamer_plan_item *made, size_t size);

STREAMER_API streamer_status streamer_plan_new(const streamer_checkpoint *checkpoint,
                                               streamer_plan **plan_out, streamer_error **error_out);
/* Adds count items that are items[0].struct_size bytes apart: all or, on an error, none. Parts outside
 * the tensor, slices of a sub-byte dtype that do not begin and end on a byte, and destinations that
 * are too small are STREAMER_ERROR_INVALID_ARGUMENT. A tensor may be added several times. */
STREAMER_API streamer_status streamer_plan_add(streamer_plan *plan, const streamer_plan_item *items,
                                               size_t count, streamer_error **error_out);
/* Adds every tensor whose name matches (fnmatch: * ? [..]; * also matches '/' and '.'), in storage
 * order. NULL or "*" adds all. *added_out, if not NULL, receives their number; 0 is not an error. */
STREAMER_API streamer_status streamer_plan_add_matching(streamer_plan *plan, const char *glob,
                                                        size_t *added_out,
                                                        streamer_error **error_out);
/* Sets the priorities of the items added so far: those whose tensor's name matches globs[0] (as
 * above) come first, then those that match globs[1], and so on, then all others. */
STREAMER_API streamer_status streamer_plan_prioritize(streamer_plan *plan, const char *const *globs,
                                                      size_t count, streamer_error **error_out);
/* Places all items in one host buffer of the caller: packed in the order of the items, each at a
 * multiple of alignment (a power of two up to 4096; 0: 64) from the buffer's start. No item may have
 * its own destination or device, and none can be added afterwards. streamer_plan_buffer_bytes() is the
 * size the buffer needs. */
STREAMER_API streamer_status streamer_plan_set_buffer(streamer_plan *plan, void *buffer, size_t bytes,
                                                      size_t alignment, streamer_error **error_out);
STREAMER_API uint64_t streamer_plan_buffer_bytes(const streamer_plan *plan, size_t alignment);
STREAMER_API size_t streamer_plan_item_count(const streamer_plan *plan);
/* Bytes of all items together. */
STREAMER_API uint64_t streamer_plan_bytes(const streamer_plan *plan);
STREAMER_API void streamer_plan_free(streamer_plan *plan);

/* ---- Load ------------------------------------------------------------------------------------- */

/* One pass that reads a plan's items into memory. */
typedef struct streamer_load streamer_load;

/* The order in which items are yielded. */
#define STREAMER_ORDER_COMPLETION 0 /* each as soon as its last byte has arrived */
#define STREAMER_ORDER_PLAN 1       /* in the order in which the load reads */

/* The order in which the load reads. */
#define STREAMER_READ_STORAGE_ORDER 0 /* by object and offset: the fastest */
#define STREAMER_READ_ITEM_ORDER 1    /* in the order in which the items were added */

/* What streamer_load_next() does when tensors held by the caller use up the memory limit, so that
 * nothing can become ready before one is released. */
#define STREAMER_WHEN_FULL_FAIL 0 /* STREAMER_ERROR_MEMORY_LIMIT; release tensors, then call again */
#define STREAMER_WHEN_FULL_WAIT 1 /* waits until another thread releases tensors, or for the timeout */

struct streamer_communicator;

typedef struct streamer_load_options {
  size_t struct_size;
  int32_t order;      /* STREAMER_ORDER_* */
  int32_t read_order; /* STREAMER_READ_* */
  int32_t when_full;  /* STREAMER_WHEN_FULL_* */
  /* For items that have neither a destination nor a device of their own. */
  streamer_device device;
  /* A stream of that device (cudaStream_t), valid until the load ends, or NULL. With NULL, a yielded
   * tensor's bytes are there for every stream. With a stream, a tensor is yielded as soon as its copies
   * are under way, and work that the caller queues on the stream from then on finds its bytes there;
   * the host does not wait. Tensors on other devices are as without a stream. */
  void *stream;
  /* The ranks that share the load, or NULL: see "Ranks". Must outlive the load. */
  const struct streamer_communicator *communicator;
  /* Where host memory for tensors comes from; NULL: the system. allocate returns memory at a
   * multiple of alignment, or NULL; streamer_load_start() calls it at most once. release is
   * called on any thread once neither the load nor any of its tensors uses the memory. Set both or
   * none; they must not call into libstreamer, throw, or leave by longjmp(). */
  void *(*allocate)(size_t bytes, size_t alignment, void *user);
  void (*release)(void *memory, size_t bytes, void *user);
  void *allocator_user;
} streamer_load_options;
#define STREAMER_LOAD_OPTIONS_INIT \
  {sizeof(streamer_load_options), 0, 0, 0, {0, 0}, 0, 0, 0, 0, 0}
STREAMER_API void streamer_load_options_init(streamer_load_options *made, size_t size);

/* Starts reading and returns at once. plan, options (NULL: the defaults) and settings are copied.
 * Settings of the store or of the checkpoint, and credentials, belong to the call that opens the
 * checkpoint: here they are STREAMER_ERROR_INVALID_ARGUMENT. STREAMER_ERROR_MEMORY_LIMIT if the memory
 * limit is below the largest item that needs memory of the library; the error names the tensor and both
 * sizes. STREAMER_ERROR_DEVICE if a device cannot be used. Devices are prepared in the background, and
 * a failure there fails the load. The caller's current device does not change. */
STREAMER_API streamer_status streamer_load_start(const streamer_plan *plan,
                                                 const streamer_load_options *options,
                                                 const streamer_settings *settings,
                                                 streamer_load **load_out, streamer_error **error_out);

typedef struct streamer_tensor streamer_tensor;

/* Waits up to timeout_ms (negative: forever; 0: not at all) for the next item and yields it:
 * STREAMER_OK stores a tensor that the caller owns, STREAMER_NOT_READY and STREAMER_END store nothing.
 * Each item is yielded exactly once. The first error ends the load and is returned by every later call;
 * only after STREAMER_ERROR_MEMORY_LIMIT does the load go on. */
STREAMER_API streamer_status streamer_load_next(streamer_load *load, int64_t timeout_ms,
                                                streamer_tensor **tensor_out,
                                                streamer_error **error_out);
/* The same for several items in one call: waits for the first, and yields with it whatever else is
 * ready, up to capacity (at least 1). Stores handles, their count and, if views_out is not NULL, views
 * (views_out[0].struct_size bytes apart; the caller sets each struct_size). */
struct streamer_tensor_view;
STREAMER_API streamer_status streamer_load_next_many(streamer_load *load, int64_t timeout_ms,
                                                     size_t capacity,
                                                     streamer_tensor **tensors_out,
                                                     struct streamer_tensor_view *views_out,
                                                     size_t *count_out,
                                                     streamer_error **error_out);
/* For event loops (epoll, asyncio, tokio, Go): a descriptor that is readable when streamer_load_next()
 * may have a tensor, an error or the end. Then call that with a timeout of 0 until it returns
 * STREAMER_NOT_READY, which makes the descriptor unreadable until there is something new, or
 * STREAMER_END. The load owns the descriptor: watch it, but neither read nor close it. Call this on the
 * thread of streamer_load_next(). */
STREAMER_API streamer_status streamer_load_fd(streamer_load *load, int *fd_out,
                                              streamer_error **error_out);
/* Stops reading and returns at once; current and later calls of streamer_load_next() return
 * STREAMER_ERROR_CANCELLED. Memory of the caller may still be written until streamer_load_close()
 * returns. Thread-safe. */
STREAMER_API void streamer_load_cancel(streamer_load *load);
/* Cancels what is left and waits for reads in progress: afterwards no memory of the caller is written.
 * Yielded tensors stay valid. */
STREAMER_API void streamer_load_close(streamer_load *load);

/* How far a load has got, and what held it back. */
typedef struct streamer_load_stats {
  size_t struct_size;
  uint64_t items_total;
  uint64_t items_ready;
  uint64_t bytes_total;      /* of the items */
  uint64_t bytes_ready;      /* of the items that are ready */
  uint64_t bytes_read;       /* from storage, including bytes outside the items */
  uint64_t elapsed_ns;       /* from the start to the last byte, or to now */
  uint64_t memory_limit;     /* in force; UINT64_MAX: none */
  uint64_t readers;
  uint64_t objects;          /* files and objects that the load reads */
  uint64_t objects_verified; /* of objects: found to match their checksums; see the setting verify */
  uint32_t rank;
  uint32_t ranks;            /* that share the load; 1: only this process */
  uint32_t held_back_by;     /* STREAMER_HELD_BACK_BY_* */
  const char *notes;         /* what was not available and what was done instead, one line each */
} streamer_load_stats;
#define STREAMER_LOAD_STATS_INIT \
  {sizeof(streamer_load_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
STREAMER_API void streamer_load_stats_init(streamer_load_stats *made, size_t size);

/* What held a load back: where its readers or, failing that, its consumer spent the time. */
#define STREAMER_HELD_BACK_BY_NOTHING 0
#define STREAMER_HELD_BACK_BY_STORAGE 1
#define STREAMER_HELD_BACK_BY_CPU 2
#define STREAMER_HELD_BACK_BY_MEMORY_LIMIT 3
#define STREAMER_HELD_BACK_BY_CONSUMER 4
#define STREAMER_HELD_BACK_BY_DEVICE_COPY 5
#define STREAMER_HELD_BACK_BY_BANDWIDTH_CAP 6

/* "storage", "memory limit"; "unknown" for a value unknown to this version. */
STREAMER_API const char *streamer_held_back_by_name(uint32_t held_back_by);

/* What was chosen for the load when it started, and why: lines "NAME: VALUE: REASON", for humans. Lives
 * as long as the load. Thread-safe. */
STREAMER_API const char *streamer_load_explain(const streamer_load *load);

/* This and the functions below are thread-safe. */
STREAMER_API void streamer_load_get_stats(const streamer_load *load, streamer_load_stats *stats_out);

/* Everything that a load counts, by name: the numbers of streamer_load_stats and others that explain
 * them, such as bytes_direct, network_requests or window_wait_ns. Names of nanoseconds end in _ns;
 * names of bytes begin with bytes_ or end in _bytes, but for memory_limit. Numbers that are not in
 * streamer_load_stats may change with any version. */
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
/* One number; STREAMER_ERROR_NOT_FOUND for an unknown name. */
STREAMER_API streamer_status streamer_load_get_stat(const streamer_load *load, const char *name,
                                                    uint64_t *value_out, streamer_error **error_out);
/* The first `count` numbers, by index, all of the same moment; returns how many there are. */
STREAMER_API size_t streamer_load_get_all_stats(const streamer_load *load, uint64_t *values_out,
                                                size_t count);

/* ---- Tensor ----------------------------------------------------------------------------------- */

/* One yielded item. */
typedef struct streamer_tensor_view {
  size_t struct_size;
  const char *name;
  size_t name_size;
  int32_t dtype;
  uint32_t rank;
  const uint64_t *shape; /* of the part: a slice's dimension is cut; a byte range is one U8 row */
  /* The bytes, row-major and dense, in the device's memory; NULL: no bytes. They are the program's to
   * write to: what it writes never reaches a file, even where they are a view of the page cache. In
   * the library's memory they begin at a multiple of the element's size on the host, and of 512 on a
   * device. */
  void *data;
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

/* The owner of the tensor may write to the memory; the library does not write to it again while the
 * tensor, or a DLPack export of it, exists. */
STREAMER_API void streamer_tensor_get_view(const streamer_tensor *tensor,
                                           streamer_tensor_view *view_out);
/* Returns the tensor's memory to the load; on any thread, also after the load was closed. Work already
 * queued on its device may still use the memory; with device_memory_limit, only work in the options'
 * stream. */
STREAMER_API void streamer_tensor_release(streamer_tensor *tensor);

/* Exports as DLPack (types in dlpack.h): 1.1, and the older struct. The export holds the memory until
 * its deleter is called, on any thread; the tensor may be released before. Dtypes unknown to DLPack or
 * of fewer than 8 bits come as rows of bytes (uint8). */
struct DLManagedTensorVersioned;
struct DLManagedTensor;
STREAMER_API streamer_status streamer_tensor_to_dlpack_versioned(
    const streamer_tensor *tensor, struct DLManagedTensorVersioned **managed_out,
    streamer_error **error_out);
STREAMER_API streamer_status streamer_tensor_to_dlpack(const streamer_tensor *tensor,
                                                       struct DLManagedTensor **managed_out,
                                                       streamer_error **error_out);

/* ---- Ranks ------------------------------------------------------------------------------------ */

/* Processes that load from the same checkpoint, all of it or a part each, may share the load: each byte
 * that any of them needs is read once and passed on. Every rank opens the checkpoint, makes its own
 * plan, and starts its load with a communicator of the same ranks; streamer_load_start() waits for all
 * of them. Shared loads choose the order of the items, which is the same on all ranks that need the
 * same items; STREAMER_END comes when all ranks have what they need. An error of one rank, including
 * streamer_load_close() before the end, fails all ranks and names the rank; so does a rank that does
 * not arrive within distributed_timeout_s. Items must be in the kind of memory that the communicator
 * passes on. The setting verify is STREAMER_ERROR_UNSUPPORTED. With one rank, none of the
 * communicator's functions is called. */

/* Bytes sent to a rank, or received from one. */
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

/* How ranks reach each other. Made by the functions below, or by the caller over the transport its
 * ranks already use. It carries one load at a time: close one, or take it to its end, before the next
 * one starts. Its functions are collective: every rank calls them in the same order, one at a
 * time, on a thread of the library or of streamer_load_start(). They return STREAMER_OK once everything
 * has arrived, or an error (STREAMER_ERROR_TIMED_OUT if a rank did not arrive within timeout_ms,
 * STREAMER_ERROR_IO if one is gone) whose text, which should name the rank, they write to why (why_size
 * bytes including its NUL). They must not throw or leave by longjmp(). After an error the communicator
 * can no longer be used, and the memory of that call stays allocated, because transfers may still be in
 * progress. */
typedef struct streamer_communicator {
  size_t struct_size;
  uint32_t rank; /* from 0 to size - 1 */
  uint32_t size;
  streamer_device device; /* where the memory passed to all_to_all() is */
  void *context; /* passed to each function */
  /* In host memory: gathers `bytes` bytes from each rank to all + rank * bytes. */
  streamer_status (*all_gather)(void *context, const void *mine, void *all, uint64_t bytes,
                                uint64_t timeout_ms, char *why, size_t why_size);
  /* send[0 .. send_count - 1] go to other ranks, receive[...] come from others; none is empty. The n-th
   * entry sent from one rank to another is the n-th that the other expects from it, of the same size.
   * On a device, the bytes to send are there when this is called. */
  streamer_status (*all_to_all)(void *context, const streamer_outgoing *send, size_t send_count,
                                const streamer_incoming *receive, size_t receive_count,
                                uint64_t timeout_ms, char *why, size_t why_size);
  void (*close)(void *context); /* called by streamer_communicator_close(); may be NULL */
} streamer_communicator;
#define STREAMER_COMMUNICATOR_INIT {sizeof(streamer_communicator), 0, 0, {0, 0}, 0, 0, 0, 0}
STREAMER_API void streamer_communicator_init(streamer_communicator *made, size_t size);

/* Over MPI, in host memory. comm is the address of an MPI_Comm, or NULL for MPI_COMM_WORLD; it includes
 * those of comm's ranks that are on this machine, or all if the setting distributed_scope is all.
 * Collective over comm. Loads MPI (libstreamer_mpi.so, see the setting debug.distributed_mpi) and
 * initializes it if necessary; MPI must allow calls from several threads in turn
 * (MPI_THREAD_SERIALIZED). STREAMER_ERROR_UNSUPPORTED says what is missing. */
STREAMER_API streamer_status streamer_communicator_open_mpi(
    const void *comm, const streamer_settings *settings, streamer_communicator **communicator_out,
    streamer_error **error_out);
/* Over NCCL, from device to device: device is this rank's, of kind CUDA. base is how the ranks reach
 * each other on the host; it must outlive the new communicator. Collective over base. Loads NCCL (see
 * the setting debug.distributed_nccl). */
STREAMER_API streamer_status streamer_communicator_open_nccl(
    const streamer_communicator *base, streamer_device device, const streamer_settings *settings,
    streamer_communicator **communicator_out, streamer_error **error_out);
STREAMER_API void streamer_communicator_close(streamer_communicator *communicator);

/* Collective, for the steps before a load, such as opening the checkpoint: every rank reports success
 * (mine is NULL), or what went wrong. Returns STREAMER_OK on all ranks or, on each, its own error if it
 * has one, otherwise that of the lowest rank that has one, naming that rank. */
STREAMER_API streamer_status streamer_communicator_agree(const streamer_communicator *communicator,
                                                         const streamer_settings *settings,
                                                         const streamer_error *mine,
                                                         streamer_error **error_out);

#ifdef __cplusplus
}
#endif

#endif /* STREAMER_H_ */
