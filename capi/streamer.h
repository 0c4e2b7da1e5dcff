/* SPDX-License-Identifier: Apache-2.0 */
/* libstreamer: model weights from storage to memory. The C ABI that every binding uses.
 *
 * Conventions:
 *  - Handles are pointers to incomplete structs. What a _new function made ends with _free, everything
 *    else with _close, but for tensors, which are released. Ending NULL does nothing.
 *  - A function that can fail returns a streamer_status and takes `streamer_error **error_out` last.
 *    Outputs are written only on success. error_out may be NULL; otherwise a status of 100 or more
 *    stores an error there that the caller owns (streamer_error_free). An error belongs to no thread.
 *  - Statuses below 100 are outcomes, not errors, and store no error.
 *  - A const handle may be used by several threads at once, any other by one thread at a time, unless
 *    stated otherwise. Functions without a handle are thread-safe.
 *  - Structs begin with struct_size and only grow at the end. Start from the STREAMER_*_INIT macro,
 *    always, or from the function of its name, for languages without macros:
 *    streamer_plan_item_init(&item, sizeof item). Of structs that the library fills, no byte beyond
 *    struct_size is written. A struct_size that ends within a field is refused; where there is no
 *    error to say so, nothing is written.
 *  - Strings in are UTF-8, NUL-terminated and copied. Strings out are UTF-8 and borrowed: they live as
 *    long as the handle they came from, or for ever if they came from none.
 *  - Sizes and offsets are bytes. Ranges are half-open: [offset, offset + size).
 *  - settings and operation may be NULL wherever they are parameters.
 *  - Nothing here throws, prints, ends the process, installs signal handlers or changes the locale.
 *  - After fork() only the parent may use loads; in the child, calls on loads and their tensors fail
 *    with STREAMER_ERROR_UNSUPPORTED or do nothing.
 *
 * Everything is since 0.1 unless stated otherwise. Only what is in this header is a promise. */
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

/* The version of the running library, which may be newer than this header. */
STREAMER_API uint32_t streamer_version(void);
/* The same as text: "0.1.0". */
STREAMER_API const char *streamer_version_string(void);

/* ---- Status and errors ------------------------------------------------------------------------ */

typedef int32_t streamer_status;

/* Outcomes. */
#define STREAMER_OK 0
#define STREAMER_END 1       /* every item of the load was yielded */
#define STREAMER_NOT_READY 2 /* nothing was ready within the timeout; the load goes on */

/* Errors. Each kind is a decision the caller can make: 1xx concern the call, 2xx the store, 3xx the
 * content, 4xx this machine; 900 is a bug. Values are never reused, and later versions may add some. */
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

/* "not_found" for 200, "ok" for 0, "unknown" for a value that this version does not know. */
STREAMER_API const char *streamer_status_name(streamer_status status);

typedef struct streamer_error streamer_error;

/* Strings are never NULL; empty means none. */
typedef struct streamer_error_info {
  size_t struct_size;
  streamer_status status;
  int32_t os_error;     /* errno, 0: none */
  int32_t http_status;  /* 0: none */
  uint32_t attempts;    /* at least 1 */
  const char *message;  /* what was tried, what happened, what to do; without the place */
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
/* "URI bytes A-B: message", on one line. */
STREAMER_API const char *streamer_error_line(const streamer_error *error);
STREAMER_API void streamer_error_free(streamer_error *error);
/* An error of the caller's own, for streamer_communicator_agree(). status: a STREAMER_ERROR_*. NULL if
 * memory is short. */
STREAMER_API streamer_error *streamer_error_new(streamer_status status, const char *message);

/* ---- Log -------------------------------------------------------------------------------------- */

#define STREAMER_LOG_TRACE 0
#define STREAMER_LOG_DEBUG 1
#define STREAMER_LOG_INFO 2
#define STREAMER_LOG_WARNING 3
#define STREAMER_LOG_ERROR 4
#define STREAMER_LOG_OFF 5

/* line has no newline and is valid only during the call. Called on any thread of the library or of the
 * caller, one call at a time; must not call into libstreamer, throw or jump out. */
typedef void (*streamer_log_callback)(int32_t level, const char *line, void *user);

/* Replaces the process's log callback; NULL or STREAMER_LOG_OFF ends logging. Until the first call the
 * environment decides: STREAMER_LOG_FILE (a path or stderr; default: no log) and STREAMER_LOG_LEVEL
 * (trace, debug, info, warning, error; default: warning). When it returns, the previous callback is no
 * longer running. */
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

/* From a callback: keys for s3://, a bearer token for gs:// and az://. Strings are copied when it
 * returns. */
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

/* Fills credentials and returns 0, or returns another number, which the error then names. Called on any
 * thread, when credentials are first needed, before they expire and when the store no longer accepts
 * them; must not call into libstreamer, throw or jump out. */
typedef int32_t (*streamer_credentials_callback)(streamer_credentials *credentials_out, void *user);

/* Asks the callback instead of looking for credentials, for URIs that begin with uri_prefix ("": all).
 * user must stay valid as long as anything opened with these settings. */
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

/* Cancels or bounds calls that may take as long as a store takes. Any number of calls may share one, in
 * turn or at once; it must outlive them. Everything but freeing it is thread-safe. The setting
 * operation_timeout_ms bounds each call by itself, with or without an operation. */
typedef struct streamer_operation streamer_operation;

/* timeout_ms: from now on, for all of its calls together, which fail with STREAMER_ERROR_TIMED_OUT
 * afterwards; negative: none. */
STREAMER_API streamer_status streamer_operation_new(int64_t timeout_ms,
                                                    streamer_operation **operation_out,
                                                    streamer_error **error_out);
/* Calls under way end at once; they and all later ones fail with STREAMER_ERROR_CANCELLED, and what
 * they had begun on disk is removed. May be called in a signal handler. */
STREAMER_API void streamer_operation_cancel(streamer_operation *operation);

/* A descriptor that is readable once the operation was cancelled, and stays so: for what waits beside
 * its calls, such as an event loop or a credentials callback. It is the operation's: watch it, and
 * neither read nor close it. -1 for NULL. */
STREAMER_API int streamer_operation_fd(const streamer_operation *operation);

/* The progress of an operation's pulls and snapshots. */
typedef struct streamer_progress {
  size_t struct_size;
  uint64_t bytes_total; /* of the chosen files */
  uint64_t bytes_done;
  uint64_t bytes_skipped; /* of bytes_done: already there */
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
  const char *etag;  /* as the store writes it; "" for folders, files, or if it says none */
} streamer_entry_info;
#define STREAMER_ENTRY_INFO_INIT {sizeof(streamer_entry_info), 0, 0, 0, 0}
STREAMER_API void streamer_entry_info_init(streamer_entry_info *made, size_t size);

/* What is directly under uri, a directory or a prefix; of a file the file itself. */
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
 * file, without reading their headers: for programs that open them themselves. An incomplete model is
 * an error, as it is there; a folder without a model is an empty listing whose notes say why. Each
 * object exists. */
STREAMER_API streamer_status streamer_listing_open_model(const char *uri,
                                                         const streamer_settings *settings,
                                                         streamer_operation *operation,
                                                         streamer_listing **listing_out,
                                                         streamer_error **error_out);
/* Of streamer_listing_open_model(): what was left out and why, one line each; otherwise "". */
STREAMER_API const char *streamer_listing_notes(const streamer_listing *listing);
STREAMER_API size_t streamer_listing_count(const streamer_listing *listing);
STREAMER_API streamer_status streamer_listing_get_info(const streamer_listing *listing, size_t index,
                                                       streamer_entry_info *info_out,
                                                       streamer_error **error_out);
/* The URI that was listed; of streamer_listing_open_model() the folder of the objects. */
STREAMER_API const char *streamer_listing_root(const streamer_listing *listing);
STREAMER_API void streamer_listing_close(streamer_listing *listing);

/* ---- Pull ------------------------------------------------------------------------------------- */

/* Which objects a pull takes. Patterns are those of fnmatch(3), matched with the key and with the path
 * below the URI; '*' crosses '/'. */
typedef struct streamer_pull_options {
  size_t struct_size;
  const char *const *allow; /* one of them must match, if there are any */
  size_t allow_count;
  const char *const *ignore; /* none of them may match */
  size_t ignore_count;
} streamer_pull_options;
#define STREAMER_PULL_OPTIONS_INIT {sizeof(streamer_pull_options), 0, 0, 0, 0}
STREAMER_API void streamer_pull_options_init(streamer_pull_options *made, size_t size);

/* Files of this machine: what a pull or a snapshot brought, sorted by path. */
typedef struct streamer_files streamer_files;

typedef struct streamer_file_info {
  size_t struct_size;
  const char *path; /* with the folder */
  uint64_t bytes;
  const char *etag;  /* of the object, as the store writes it; "" if it says none */
  int32_t was_there; /* 1: the same bytes were there, and were not copied */
} streamer_file_info;
#define STREAMER_FILE_INFO_INIT {sizeof(streamer_file_info), 0, 0, 0, 0}
STREAMER_API void streamer_file_info_init(streamer_file_info *made, size_t size);

STREAMER_API const char *streamer_files_folder(const streamer_files *files);
STREAMER_API size_t streamer_files_count(const streamer_files *files);
STREAMER_API streamer_status streamer_files_get_info(const streamer_files *files, size_t index,
                                                     streamer_file_info *info_out,
                                                     streamer_error **error_out);
STREAMER_API void streamer_files_close(streamer_files *files);

/* Copies every chosen object below uri to folder/<its path below uri>, several at once; makes folders
 * as needed; keeps to max_bandwidth. A file appears whole under its name or not at all. A file that is
 * already there is replaced unless it has the object's bytes, by its checksum: that noted when it was
 * pulled (in the extended attribute user.libstreamer, together with the ETag), the ETag if it is an
 * MD5, or the store's. An error that concerns one object only, such as a name that is no path below
 * the folder (STREAMER_ERROR_INVALID_ARGUMENT), is returned at the end, when all others are there.
 * options may be NULL. Blocks; see streamer_operation_get_progress(). */
STREAMER_API streamer_status streamer_pull(const char *uri, const char *folder,
                                           const streamer_pull_options *options,
                                           const streamer_settings *settings,
                                           streamer_operation *operation,
                                           streamer_files **files_out,
                                           streamer_error **error_out);

/* A model's small files (configuration, tokenizer, index) in a folder of this machine, made once for
 * each version of them below the setting cache_folder: the first caller, in any process, pulls them;
 * others wait or find them there. streamer_files_folder() is that folder, which never changes again. A
 * version is one listing of the store: paths, ETags, sizes. Without a pattern everything is taken but
 * what is named like weights (.safetensors, .bin, .pt, .pth, .ckpt, .gguf, .h5, .msgpack, .npz, .onnx,
 * .onnx_data, .tensors); STREAMER_ERROR_NOT_FOUND if nothing is left. A local folder is its own
 * snapshot. SHA-256 sums are kept beside the folder, and files that do not match are pulled again.
 * STREAMER_ERROR_PERMISSION_DENIED if the model's folder in the cache is a symbolic link, belongs to
 * another user (except root) or is writable by everybody. Old versions stay until their folders are
 * removed, which is safe when nobody reads them. options may be NULL. Blocks. */
STREAMER_API streamer_status streamer_snapshot(const char *uri, const streamer_pull_options *options,
                                               const streamer_settings *settings,
                                               streamer_operation *operation,
                                               streamer_files **files_out,
                                               streamer_error **error_out);

/* ---- Doctor ----------------------------------------------------------------------------------- */

/* One step to a URI's bytes. Pointers are valid only during the call. */
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

/* Tries each step to the bytes of uri: settings, endpoint, addresses, connection, credentials, list,
 * stat, one ranged read. The first failure ends it and is returned, except that a refused listing does
 * not keep the later steps from being tried. Blocks. */
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
/* Gives back to the system the memory that loads keep for the next one: host memory of released tensors
 * (128 MiB at most, which the system takes back itself when it is short), and the pinned memory of each
 * device. Returns how many bytes that was. */
STREAMER_API uint64_t streamer_trim(void);

/* ---- Checkpoint ------------------------------------------------------------------------------- */

/* One or more safetensors objects as one set of tensors, each object pinned to the version it had when
 * it was opened. Immutable: any number of threads and loads may use it at once. It may be closed before
 * its loads and tensors. */
typedef struct streamer_checkpoint streamer_checkpoint;

/* Each of the count uris is a safetensors file, a directory or prefix, or a shard index
 * (*.safetensors.index.json, or *.safetensors.index.fp16.json of a variant). Files are taken as
 * named. Of a directory one whole model is taken: the shards of its index, else its
 * *.safetensors files. A missing shard or part ("-00002-of-00007"), a dangling link, and several
 * models without anything that chooses one are errors. Other forms of the same model
 * (consolidated* beside model*, variants) and files that belong to none (adapter_model*,
 * optimizer*, training_*) are left out; see streamer_checkpoint_notes(). A hub's cache
 * (models--org--name) stands for the snapshot that its refs/main names. Reads the headers only,
 * many at once, and checks every rule of the format. Blocks. */
STREAMER_API streamer_status streamer_checkpoint_open(const char *const *uris, size_t count,
                                                      const streamer_settings *settings,
                                                      streamer_operation *operation,
                                                      streamer_checkpoint **checkpoint_out,
                                                      streamer_error **error_out);
/* One rank's files of a sharded state: its parts under folder, from part 0 on. pattern is a file name
 * with {rank} and {part}, each once; NULL: "model-rank-{rank}-part-{part}.safetensors".
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
/* Files of any kind: range i (they are ranges[0].struct_size bytes apart) is the tensor named "i", of
 * dtype U8 and one dimension. STREAMER_ERROR_INVALID_ARGUMENT if a range ends beyond its object. */
STREAMER_API streamer_status streamer_checkpoint_open_ranges(const streamer_object_range *ranges,
                                                             size_t count,
                                                             const streamer_settings *settings,
                                                             streamer_operation *operation,
                                                             streamer_checkpoint **checkpoint_out,
                                                             streamer_error **error_out);
STREAMER_API void streamer_checkpoint_close(streamer_checkpoint *checkpoint);
/* What was left out of directories and why, one line each; "" if nothing was. Also in the notes of
 * streamer_load_stats, and in the log. */
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

/* "BF16", as safetensors spells it; NULL for no such dtype. */
STREAMER_API const char *streamer_dtype_name(int32_t dtype);
/* Bits of one element (4, 6, 8 .. 64); 0 for no such dtype. */
STREAMER_API uint32_t streamer_dtype_bits(int32_t dtype);

/* One tensor as it is stored. */
typedef struct streamer_tensor_info {
  size_t struct_size;
  const char *name; /* NUL-terminated, but may hold other NULs: name_size counts */
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
/* The number of the tensor with that name; STREAMER_ERROR_NOT_FOUND if there is none. */
STREAMER_API streamer_status streamer_checkpoint_find(const streamer_checkpoint *checkpoint,
                                                      const char *name, size_t name_size,
                                                      size_t *tensor_out, streamer_error **error_out);

/* One stored file of the checkpoint. */
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
/* One entry of an object's __metadata__, in the order of the file. */
STREAMER_API streamer_status streamer_checkpoint_get_metadata(const streamer_checkpoint *checkpoint,
                                                              size_t object, size_t entry,
                                                              const char **key_out,
                                                              const char **value_out,
                                                              streamer_error **error_out);

/* ---- Plan ------------------------------------------------------------------------------------- */

/* What a load brings, and where to: a list of items. Filled by one owner, then given to any number of
 * loads. */
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
  /* Where the bytes land: memory of the caller, valid until the load was closed, with room for the
   * part. NULL: memory of the library. */
  void *destination;
  size_t destination_bytes;
  uint64_t tag; /* the caller's own; comes back with the tensor */
  /* Of destination, or of the library's memory; the host without a destination stands for the device of
   * the load's options. Nobody may use a destination on a device before its tensor was yielded. */
  streamer_device device;
  /* Items of a higher priority are read before others, in storage order among themselves. Without
   * meaning for STREAMER_READ_ITEM_ORDER, and for loads that ranks share. */
  uint32_t priority;
} streamer_plan_item;
#define STREAMER_PLAN_ITEM_INIT {sizeof(streamer_plan_item), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0, 0}, 0}
STREAMER_API void streamer_plan_item_init(streamer_plan_item *made, size_t size);

STREAMER_API streamer_status streamer_plan_new(const streamer_checkpoint *checkpoint,
                                               streamer_plan **plan_out, streamer_error **error_out);
/* Adds count items that are items[0].struct_size bytes apart: all or, on an error, none. Parts outside
 * the tensor, slices of a sub-byte dtype that do not begin and end at bytes, and destinations that are
 * too small are STREAMER_ERROR_INVALID_ARGUMENT. A tensor may be added several times. */
STREAMER_API streamer_status streamer_plan_add(streamer_plan *plan, const streamer_plan_item *items,
                                               size_t count, streamer_error **error_out);
/* Adds every tensor whose name matches (fnmatch: * ? [..]; * also crosses '/' and '.'), in storage
 * order. NULL or "*" adds all. *added_out, if not NULL, is how many; none is not an error. */
STREAMER_API streamer_status streamer_plan_add_matching(streamer_plan *plan, const char *glob,
                                                        size_t *added_out,
                                                        streamer_error **error_out);
/* Sets the priorities of the items that were added: those whose tensor's name matches globs[0] (as
 * above) come first, then those that match globs[1], and so on, then all others. */
STREAMER_API streamer_status streamer_plan_prioritize(streamer_plan *plan, const char *const *globs,
                                                      size_t count, streamer_error **error_out);
/* Places every item in one buffer of the caller on the host: packed in the order of the items, each at
 * a multiple of alignment (a power of two up to 4096; 0: 64) from its start. No item may have a
 * destination or a device of its own, and none can be added afterwards.
 * streamer_plan_buffer_bytes() is the size that it takes. */
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

/* The order in which items are yielded. */
#define STREAMER_ORDER_COMPLETION 0 /* each as soon as its last byte is there */
#define STREAMER_ORDER_PLAN 1       /* as the load reads */

/* The order in which the load reads. */
#define STREAMER_READ_STORAGE_ORDER 0 /* by object and offset: the fastest */
#define STREAMER_READ_ITEM_ORDER 1    /* as the items were added */

/* What streamer_load_next() does when tensors held by the caller use up the memory limit, so that
 * nothing can become ready before one is released. */
#define STREAMER_WHEN_FULL_FAIL 0 /* STREAMER_ERROR_MEMORY_LIMIT; release, then call it again */
#define STREAMER_WHEN_FULL_WAIT 1 /* waits, for another thread to release or for the timeout */

struct streamer_communicator;

typedef struct streamer_load_options {
  size_t struct_size;
  int32_t order;      /* STREAMER_ORDER_* */
  int32_t read_order; /* STREAMER_READ_* */
  int32_t when_full;  /* STREAMER_WHEN_FULL_* */
  /* Of items that have neither a destination nor a device of their own. */
  streamer_device device;
  /* A stream of that device (cudaStream_t), valid until the load ended, or NULL: a tensor's bytes are
   * then there for every stream once it is yielded. Else a tensor is yielded as soon as its copies are
   * on their way, and what the caller puts into the stream from then on finds its bytes there; the
   * host waits for nothing. Tensors on other devices are as without it. */
  void *stream;
  /* The ranks that share the load, or NULL: see "Ranks". Must outlive the load. */
  const struct streamer_communicator *communicator;
  /* Where host memory for tensors comes from; NULL: the system. allocate returns memory at a
   * multiple of alignment, or NULL; streamer_load_start() calls it at most once. release is
   * called on any thread once neither the load nor any of its tensors uses the memory. Both or
   * none; they must not call into libstreamer, throw or jump out. */
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
 * limit is below the largest item that needs memory of the library; it names the tensor and both
 * sizes. STREAMER_ERROR_DEVICE if a device cannot be used. Devices are prepared in the background, and
 * a failure there is the load's. The caller's current device does not change. */
STREAMER_API streamer_status streamer_load_start(const streamer_plan *plan,
                                                 const streamer_load_options *options,
                                                 const streamer_settings *settings,
                                                 streamer_load **load_out, streamer_error **error_out);

typedef struct streamer_tensor streamer_tensor;

/* Waits up to timeout_ms (negative: for ever; 0: not at all) for the next item and yields it:
 * STREAMER_OK stores a tensor that the caller owns, STREAMER_NOT_READY and STREAMER_END store nothing.
 * Each item is yielded exactly once. The first error ends the load and is returned by every later call;
 * only after STREAMER_ERROR_MEMORY_LIMIT the load goes on. */
STREAMER_API streamer_status streamer_load_next(streamer_load *load, int64_t timeout_ms,
                                                streamer_tensor **tensor_out,
                                                streamer_error **error_out);
/* The same for several items with one call: waits for the first, and yields with it what else is ready,
 * up to capacity (at least 1). Stores handles, their count and, if views_out is not NULL, views
 * (views_out[0].struct_size bytes apart; the caller sets each struct_size). */
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
/* Stops reading and returns at once; calls of streamer_load_next(), under way or later, return
 * STREAMER_ERROR_CANCELLED. Memory of the caller may still be written until streamer_load_close()
 * returned. Thread-safe. */
STREAMER_API void streamer_load_cancel(streamer_load *load);
/* Cancels what is left and waits for reads under way: afterwards no memory of the caller is written.
 * Tensors that were yielded stay valid. */
STREAMER_API void streamer_load_close(streamer_load *load);

/* How far a load is, and what held it back. */
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
  const char *notes;         /* what was not available and what was done instead, one line each */
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

/* "storage", "memory limit"; "unknown" for a value that this version does not know. */
STREAMER_API const char *streamer_held_back_by_name(uint32_t held_back_by);

/* What was chosen for the load when it started, and why: lines "NAME: VALUE: REASON", for people. Lives
 * as long as the load. Thread-safe. */
STREAMER_API const char *streamer_load_explain(const streamer_load *load);

/* This and the functions below are thread-safe. */
STREAMER_API void streamer_load_get_stats(const streamer_load *load, streamer_load_stats *stats_out);

/* Everything that a load counts, by name: the numbers of streamer_load_stats and those that explain
 * them, such as bytes_direct, network_requests or window_wait_ns. Names end in _ns for nanoseconds, and
 * begin with bytes_ or end in _bytes for bytes. Those that streamer_load_stats does not have may change
 * with any version. */
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
/* The first `count` of them, by index, at one moment; returns how many there are. */
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

/* The holder may write the memory; the library does not write it again while the tensor, or a DLPack
 * export of it, lives. */
STREAMER_API void streamer_tensor_get_view(const streamer_tensor *tensor,
                                           streamer_tensor_view *view_out);
/* Gives the tensor's memory back to the load, on any thread, also after the load was closed.
 * Work already queued on its device may still use it; with device_memory_limit, only in the
 * options' stream. */
STREAMER_API void streamer_tensor_release(streamer_tensor *tensor);

/* DLPack (types in dlpack.h): 1.1, and the older struct. The export holds the memory until its deleter
 * is called, on any thread; the tensor may be released before. Dtypes unknown to DLPack or of less than
 * 8 bits come as rows of bytes (uint8). */
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
 * of them. Items come in an order of their own, the same on all ranks that need the same;
 * STREAMER_END comes when all ranks have what they need. An error of one rank, including
 * streamer_load_close() before the end, is the error of all and names the rank; so is a rank that does
 * not come within distributed_timeout_s. Items must be in the kind of memory that the communicator
 * passes on. The setting verify is STREAMER_ERROR_UNSUPPORTED. With one rank none of the functions
 * below is called. */

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

/* How ranks reach each other. Made by the functions below, or by the caller over what its ranks already
 * use. The functions are collective: every rank calls them in the same order, one at a time, on a
 * thread of the library or of streamer_load_start(). They return STREAMER_OK once everything is there,
 * or an error (STREAMER_ERROR_TIMED_OUT if a rank did not come within timeout_ms, STREAMER_ERROR_IO if
 * one is gone) whose text, which should name the rank, they put into why (why_size bytes with its NUL).
 * They must not throw or jump out. After an error the communicator cannot be used any more, and the
 * memory of that call stays allocated, because transfers may still be under way. */
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
 * ranks those on this machine, unless the setting distributed_scope is all. Collective over comm. Loads
 * MPI (libstreamer_mpi.so, see the setting distributed_mpi) and starts it if need be; it must allow
 * calls from several threads in turn (MPI_THREAD_SERIALIZED). STREAMER_ERROR_UNSUPPORTED says what is
 * missing. */
STREAMER_API streamer_status streamer_communicator_open_mpi(
    const void *comm, const streamer_settings *settings, streamer_communicator **communicator_out,
    streamer_error **error_out);
/* Over NCCL, from device to device: this rank's is device, of kind CUDA. base is how its
 * ranks reach each other on the host; it must outlive this. Collective over base. Loads NCCL (see the
 * setting distributed_nccl). */
STREAMER_API streamer_status streamer_communicator_open_nccl(
    const streamer_communicator *base, streamer_device device, const streamer_settings *settings,
    streamer_communicator **communicator_out, streamer_error **error_out);
STREAMER_API void streamer_communicator_close(streamer_communicator *communicator);

/* Collective, for what precedes a load, such as opening the checkpoint: every rank says that all
 * is well (mine is NULL), or what went wrong. Returns STREAMER_OK on all of them, or this rank's
 * own error, or that of the lowest rank that has one, which it names. */
STREAMER_API streamer_status streamer_communicator_agree(const streamer_communicator *communicator,
                                                         const streamer_settings *settings,
                                                         const streamer_error *mine,
                                                         streamer_error **error_out);

#ifdef __cplusplus
}
#endif

#endif /* STREAMER_H_ */
