#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""New weights for a running vLLM, as training writes them: vllm_reload.py MODEL (a folder or a URI)

Only blocks of the model with a tensor whose object changed are read again, into the memory that the
engine already uses.
"""
import sys

from vllm import LLM, SamplingParams


def main() -> None:
    engine = LLM(model=sys.argv[1], load_format="libstreamer")
    while True:
        made = engine.generate(["Once upon a time"], SamplingParams(max_tokens=16, temperature=0))
        print(made[0].outputs[0].text)
        if input("Enter: reload, q: quit ").startswith("q"):
            return
        engine.collective_rpc("reload_weights")  # vLLM's own hook, in every worker
        engine.reset_prefix_cache()  # it is of the old weights


if __name__ == "__main__":
    main()
