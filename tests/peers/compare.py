#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How quickly a model's tensors reach its parameters: ours beside the real peers, in turn.

By hand, not in CI: pip install -r compare_requirements.txt (and nginx), then
    compare.py [--rounds 5] [--json FILE] [--plot FILE.svg] [--markdown FILE]
docs/comparison.md says what is measured, and how.
"""
import argparse
import glob
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import compare_world as world
from compare_peers import OURS, PEERS, REMOTE

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ROWS = {"http": "http (S3)", "https": "https (S3)", "cache": "page cache", "cold": "cold disk"}
SEEDS = {"peers": ["load", "drop_in", "incumbent", "safetensors", "tensorizer"],
         "rows": ["cold", "http"], "shards": 1}
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "CUDA_VISIBLE_DEVICES", "CUDA_HOME",
                  "OMP_NUM_THREADS")


def newest_library():
    """The shared library of a build of this tree, or None: then the installed one is measured."""
    built = glob.glob(os.path.join(ROOT, "build*", "capi", "libstreamer.so"))
    return max(built, key=os.path.getmtime, default=None)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="how often each is measured")
    add("--gb", type=float, default=0.99, help="size of the model")
    add("--shards", type=int, help="files of the model; 4")
    add("--rows", nargs="+", choices=list(ROWS), help="which; all")
    add("--peers", nargs="+", choices=list(PEERS), help="which; all")
    add("--seeds", action="store_true", help="streamer, safetensors and tensorizer from disk and S3, "
        "as the Run:ai Model Streamer was first presented")
    add("--device", default="cpu", help="cpu, or cuda:0")
    add("--folder", default=tempfile.gettempdir(), help="where the model is written, on a disk")
    add("--library", default=os.environ.get("STREAMER_LIBRARY") or newest_library(),
        help="libstreamer.so; $STREAMER_LIBRARY, the newest build of this tree, or the installed one")
    add("--packages", default=os.path.join(ROOT, "capi"),
        help="the folder with our Python packages, in python and in runai/python; this tree's")
    add("--python", default=sys.executable, help="the interpreter that the peers are installed for")
    add("--congestion", default="cubic", help="how the server's connections are controlled; cubic, "
        "Linux's default. bbr paces them by timers, of which much runs on the client's cores")
    add("--back", type=float, help="GB of memory that are touched before each measurement; 0 for "
        "none; thrice the model and 1, if that is free")
    add("--timeout", type=float, default=600, help="seconds for one measurement")
    add("--json", metavar="FILE", help="all measurements, and what was made of them")
    add("--plot", metavar="FILE", help="PNG or SVG, by its name; needs matplotlib")
    add("--markdown", metavar="FILE", nargs="?", const="-", help="the tables of docs/comparison.md")
    options = parser.parse_args()
    chosen = SEEDS if options.seeds else {}
    options.rows = options.rows or chosen.get("rows") or list(ROWS)
    options.peers = options.peers or chosen.get("peers") or list(PEERS)
    options.shards = options.shards or chosen.get("shards") or 4
    if options.back is None:
        options.back = min(3 * options.gb + 1, 0.7 * world.available_bytes() / 1e9)
    return options


class Comparison:
    def __init__(self, options, root):
        self.options, self.root, self.work = options, root, os.path.join(root, "work")
        self.measurements, self.not_run, self.failures = [], {}, {}
        self.is_interrupted = False
        os.makedirs(os.path.join(self.work, "home"))
        folder = os.path.join(root, "served", world.BUCKET, world.FOLDER)
        say(f"making a model of {options.gb} GB in {folder}")
        self.model = world.make_model(folder, options.gb, options.shards)
        self.files = self.model["files"]
        self.serialized = os.path.join(folder, "model.tensors")
        self.machine = world.machine(root)
        self.machine["cpu_s_per_gb_of_fresh_memory"] = {
            name: world.back(int(max(options.back, 1) * 1e9))
            for name in ("first touch", "touched again")}
        if "OMP_NUM_THREADS" in os.environ:
            self.machine["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
        self.server, self.no_server = None, ""
        if set(options.rows) & set(REMOTE):
            try:
                self.server = world.Server(os.path.join(root, "served"), self.work, self.files,
                                           options.congestion)
                self.machine["nginx"] = f"{self.server.version} ({self.server.congestion})"
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                self.no_server = f"no server: {error}"

    def stop(self):
        if self.server:
            self.server.stop()

    def place(self, peer, row):
        """Where the peer finds the model."""
        of_row = {"peer": peer, "row": row, "device": self.options.device, "files": self.files,
                  "model": os.path.join(os.path.dirname(self.files[0]), "model.json"),
                  "result": os.path.join(self.work, "result.json"),
                  "uris": self.files, "serialized": self.serialized}
        if row in REMOTE:
            url = self.server.urls[row]
            key = f"{world.BUCKET}/{world.FOLDER}"
            of_row.update(endpoint=url, ca=self.server.ca,
                          uris=[f"s3://{key}/{os.path.basename(path)}" for path in self.files],
                          serialized=f"{url}/{key}/{os.path.basename(self.serialized)}")
        return of_row

    def environment(self, peer, row):
        """Nobody finds the settings or the credentials of whoever runs this."""
        values = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        values.update(HOME=os.path.join(self.work, "home"), PYTHONDONTWRITEBYTECODE="1",
                      NO_PROXY="127.0.0.1", no_proxy="127.0.0.1", AWS_EC2_METADATA_DISABLED="true",
                      AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1",
                      AWS_ACCESS_KEY_ID="EXAMPLE", AWS_SECRET_ACCESS_KEY="not-a-secret",
                      RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING="0")
        if row in REMOTE:
            values["AWS_ENDPOINT_URL"] = self.server.urls[row]
            # The second is for the CRT of the S3 connector for PyTorch.
            values["AWS_CA_BUNDLE"] = values["SSL_CERT_FILE"] = self.server.ca
        if peer in OURS:
            folders = ["runai/python", "python"] if peer == "drop_in" else ["python"]
            paths = [os.path.join(self.options.packages, folder) for folder in folders]
            values["PYTHONPATH"] = os.pathsep.join(paths)
            if self.options.library:
                values["STREAMER_LIBRARY"] = os.path.abspath(self.options.library)
        return values

    def run(self, peer, row):
        """The result of one process."""
        place, order = self.place(peer, row), os.path.join(self.work, "order.json")
        with open(order, "w", encoding="utf-8") as file:
            json.dump(place, file)
        if os.path.exists(place["result"]):
            os.unlink(place["result"])
        with open(os.path.join(self.work, "said"), "w+", encoding="utf-8", errors="replace") as said:
            process = subprocess.Popen(
                [self.options.python, os.path.join(HERE, "compare_peers.py"), order],
                env=self.environment(peer, row), stdout=said, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                status = f"ended with {process.wait(self.options.timeout)} and no result"
            except subprocess.TimeoutExpired:
                status = f"no result after {self.options.timeout:.0f} s"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if os.path.exists(place["result"]):
                with open(place["result"], encoding="utf-8") as file:
                    return json.load(file)
            said.seek(0)
            last = ([line.strip() for line in said if line.strip()] or ["said nothing"])[-1]
            return {"failed": f"{status}: {last[:300]}"}

    def why_not(self, peer, row):
        if row not in PEERS[peer][2]:
            return "reads files only" if row in REMOTE else "reads S3 only"
        if row in REMOTE and not self.server:
            return self.no_server
        return self.not_run.get((peer, row))

    def measure(self, peer, row, number):
        if self.why_not(peer, row):
            self.not_run[peer, row] = self.why_not(peer, row)
            return
        paths = [self.serialized] if peer == "tensorizer" else self.files
        stayed = world.drop(paths) if row == "cold" else world.warm(paths)
        if stayed and stayed > 0.01:
            self.not_run[peer, row] = (f"{stayed:.0%} of the files stayed in memory, on "
                                       f"{self.machine['file_system']}: name a disk with --folder")
            return
        if self.options.back:
            world.back(int(self.options.back * 1e9))
        load_average = os.getloadavg()[0]
        result = self.run(peer, row)
        if "refused" in result:
            self.not_run[peer, row] = result["refused"]
        elif "failed" in result:
            self.failures.setdefault((peer, row), []).append(result["failed"])
            if len(self.failures[peer, row]) == 2:  # the rest would fail too, and may take long
                self.not_run[peer, row] = "failed twice"
        else:
            self.measurements.append({"peer": peer, "row": row, "round": number, **result,
                                      "stayed_cached": stayed, "load_average": load_average})
        say(f"round {number}, {row}, {peer}: " + (result.get("refused") or result.get("failed") or
            f"{result['gb_per_s']:.2f} GB/s, {result['cpu_s_per_gb']:.2f} CPU-s/GB"))

    def measure_all(self):
        peers, rows = self.options.peers, self.options.rows
        if "tensorizer" in peers:
            result = self.run("tensorizer", "serialize")
            why = result.get("refused") or result.get("failed")
            self.not_run.update({("tensorizer", row): why for row in rows if why})
        try:
            for number in range(self.options.rounds):
                for row in rows:
                    for at in range(len(peers)):
                        self.measure(peers[(at + number) % len(peers)], row, number + 1)
        except KeyboardInterrupt:
            self.is_interrupted = True
        self.machine["load_average_at_the_end"] = os.getloadavg()[0]

    def summary(self):
        return [{"row": row, "peer": peer, **one} for row in self.options.rows
                for peer in self.options.peers for one in [self.of(peer, row)] if one]

    def of(self, peer, row):
        """Medians, and the least and the most of all rounds."""
        found = [one for one in self.measurements if (one["peer"], one["row"]) == (peer, row)]
        result = {"rounds": len(found), "versions": found[0]["versions"]} if found else {}
        for field in ("gb_per_s", "cpu_s_per_gb", "peak_mb", "first_tensor_s", "seconds"):
            values = [one[field] for one in found if one[field] is not None]
            if values:
                result[field] = [statistics.median(values), min(values), max(values)]
        return result

    def ratio(self, peer, other, row, field):
        """The median of each round's own ratio."""
        rounds = {}
        for one in self.measurements:
            if one["row"] == row and one["peer"] in (peer, other):
                rounds.setdefault(one["round"], {})[one["peer"]] = one[field]
        both = [one[peer] / max(one[other], 1e-9) for one in rounds.values() if len(one) == 2]
        return statistics.median(both) if both else None

    def reasons(self):
        """Peer: reason: rows; what was not measured, or failed."""
        found = {}
        for (peer, row), why in self.not_run.items():
            if (peer, row) not in self.failures:
                found.setdefault(peer, {}).setdefault(why, []).append(row)
        for (peer, row), texts in self.failures.items():
            times = "failed twice, and was not tried again" if len(texts) > 1 else "failed once"
            found.setdefault(peer, {}).setdefault(f"{times}: {texts[-1]}", []).append(row)
        return found


def say(text):
    print(text, file=sys.stderr, flush=True)


def spread(values, digits):
    if not values:
        return "-"
    median, least, most = (f"{value:.{digits}f}" for value in values)
    return median if least == most else f"{median} ({least} to {most})"


def conditions(found):
    """Where and how it was measured, in one paragraph."""
    options, machine, files = found.options, found.machine, len(found.files)
    touch = machine["cpu_s_per_gb_of_fresh_memory"]
    known = {name: version for one in found.measurements for name, version in one["versions"].items()}
    setting = [machine["date"], machine["processor"], f"{machine['cores']} cores",
               f"{machine['memory_gb']} GB", f"Linux {machine['kernel']}", machine["file_system"]]
    if "nginx" in machine:
        setting.append(machine["nginx"])
    if "OMP_NUM_THREADS" in machine:
        setting.append(f"OMP_NUM_THREADS={machine['OMP_NUM_THREADS']}")
    rounds = "One round" if options.rounds == 1 else \
        f"Medians of {options.rounds} rounds (least to most)"
    if found.is_interrupted:
        rounds += ", of which not all were measured: it was interrupted"
    backed = f"{options.back:.1f} GB were" if options.back else "none was"
    return (f"{', '.join(setting)}. To {options.device}: {found.model['bytes'] / 1e9:.2f} GB, "
            f"{len(found.model['tensors'])} tensors in {files} file{'s' if files > 1 else ''}. "
            f"{rounds}. {', '.join(' '.join(one) for one in sorted(known.items())) or 'Nothing came'}. "
            f"Fresh memory cost {touch['first touch']:.2f} CPU-s/GB at the first touch and "
            f"{touch['touched again']:.2f} at the second; {backed} touched before each measurement. "
            f"Load average {machine['load_average']:.1f} before and "
            f"{machine['load_average_at_the_end']:.1f} after.")


def table(found):
    """Two tables of Markdown, what they stand on, and what is not in them."""
    yield conditions(found)
    yield from ("", "| row | peer | GB/s | CPU-s/GB | peak, MB | first tensor, s |",
                "|---|---|---|---|---|---|")
    for one in found.summary():
        yield (f"| {ROWS[one['row']]} | {PEERS[one['peer']][0]} | {spread(one['gb_per_s'], 2)} | "
               f"{spread(one['cpu_s_per_gb'], 2)} | {spread(one['peak_mb'], 0)} | "
               f"{spread(one.get('first_tensor_s'), 3)} |")
    yield from ratios(found)
    yield ""
    for peer, reasons in found.reasons().items():
        for why, rows in reasons.items():
            yield f"- {PEERS[peer][0]}, {', '.join(ROWS[row] for row in rows)}: {why}"


def ratios(found):
    ours = [peer for peer in OURS if any(one["peer"] == peer for one in found.measurements)]
    others = [one for one in found.summary() if one["peer"] not in OURS]
    if not ours or not others:
        return
    yield from ("", "Ours over each peer: speed, and CPU; medians of each round's own ratio.", "",
                "| row | peer | " + " | ".join(PEERS[peer][0] for peer in ours) + " |",
                "|---|---|" + "---|" * len(ours))
    for one in others:
        cells = []
        for peer in ours:
            both = [found.ratio(peer, one["peer"], one["row"], field)
                    for field in ("gb_per_s", "cpu_s_per_gb")]
            cells.append("-" if None in both else f"{both[0]:.2f}, {both[1]:.2f}")
        yield f"| {ROWS[one['row']]} | {PEERS[one['peer']][0]} | " + " | ".join(cells) + " |"


def plot(found, path):
    try:
        import matplotlib
    except ImportError:
        return say("no plot: matplotlib is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot
    fields = (("gb_per_s", "GB/s"), ("cpu_s_per_gb", "CPU-s/GB"), ("peak_mb", "peak, MB"),
              ("first_tensor_s", "first tensor, s"))
    figure, axes = pyplot.subplots(len(found.options.rows), len(fields), squeeze=False, sharey="row",
                                   figsize=(17, 3 * len(found.options.rows)), layout="constrained")
    for row, line in zip(found.options.rows, axes):
        ones = [one for one in found.summary() if one["row"] == row][::-1]
        for (field, title), axis in zip(fields, line):
            values = [one.get(field, (0, 0, 0)) for one in ones]
            errors = [[middle - least for middle, least, _ in values],
                      [most - middle for middle, _, most in values]]
            axis.barh([PEERS[one["peer"]][0].replace("`", "") for one in ones],
                      [middle for middle, *_ in values], xerr=errors,
                      color=["tab:blue" if one["peer"] in OURS else "tab:gray" for one in ones])
            axis.set_title(f"{ROWS[row]}: {title}", fontsize=10)
    figure.savefig(path)


def write(found, options):
    text = "\n".join(table(found)) + "\n"
    print(text, end="")
    if options.markdown not in (None, "-"):
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(text)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": found.machine,
                       "model": {"bytes": found.model["bytes"], "files": len(found.files),
                                 "tensors": len(found.model["tensors"])},
                       "is_interrupted": found.is_interrupted,
                       "device": options.device, "backed_gb": options.back,
                       "summary": found.summary(), "measurements": found.measurements,
                       "not_measured": found.reasons()}, file, indent=1)
    if options.plot:
        plot(found, options.plot)


def main():
    options = parse()
    # What was measured is printed; the server and the model go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = tempfile.mkdtemp(prefix="compare-", dir=options.folder)
    found = None
    try:
        os.chmod(root, 0o755)
        found = Comparison(options, root)
        found.measure_all()
        write(found, options)
    finally:
        if found:
            found.stop()
        shutil.rmtree(root, ignore_errors=True)
    # A peer of others may fail; ours may not.
    return 1 if found.is_interrupted or any(peer in OURS for peer, _ in found.failures) else 0


if __name__ == "__main__":
    sys.exit(main())
