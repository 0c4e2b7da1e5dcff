// SPDX-License-Identifier: Apache-2.0
// Streams a checkpoint to host memory and prints each tensor as soon as it is there. The library is
// waited for on another thread: the event loop goes on.
//
//     npm install koffi && STREAMER_LIBRARY=/path/to/libstreamer.so node load_checkpoint.js URI
const koffi = require("koffi");

const library = koffi.load(process.env.STREAMER_LIBRARY || "libstreamer.so.0");
const View = koffi.struct("streamer_tensor_view", {
  struct_size: "size_t", name: "str", name_size: "size_t", dtype: "int32", rank: "uint32",
  shape: "void *", data: "void *", bytes: "uint64", device: koffi.array("int32", 2),
  tensor: "size_t", item: "size_t", tag: "uint64", part: "int32" });
const line = library.func("str streamer_error_line(void *)");
const look = library.func("void streamer_tensor_get_view(void *, _Inout_ streamer_tensor_view *)");
const release = library.func("void streamer_tensor_release(void *)");
// A function of the library as one that returns a promise of its status and of what it made.
const call = (name, types) => (...values) => new Promise((done, fail) => {
  const native = library.func(`int streamer_${name}(${types}, _Out_ void **, _Out_ void **)`);
  const [made, error] = [[null], [null]];
  native.async(...values, made, error, (_, status) =>
    status < 100 ? done([status, made[0]]) : fail(new Error(line(error[0]))));
});

async function main(uri) {
  const open = call("checkpoint_open", "str *, size_t, void *, void *");
  const [, checkpoint] = await open([uri], 1, null, null);
  const [, plan] = await call("plan_new", "void *")(checkpoint);
  await call("plan_add_matching", "void *, str")(plan, "*");
  const [, load] = await call("load_start", "void *, void *, void *")(plan, null, null);
  const next = call("load_next", "void *, int64");
  for (;;) {
    const [status, tensor] = await next(load, -1);
    if (status !== 0) break; // all were yielded
    const view = { struct_size: koffi.sizeof(View) };
    look(tensor, view); // koffi.view(view.data, Number(view.bytes)) is an ArrayBuffer over the memory
    console.log(`${view.bytes} bytes: ${view.name}`);
    release(tensor);
  }
}
main(process.argv[2]).catch((error) => { console.error(error.message); process.exitCode = 1; });
