#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Texts name settings as the table does: check_settings.py SOURCE_ROOT | --self-test"""
import difflib
import os
import re
import sys

# Words with an underscore that texts use and that are no settings: of files, tools and headers of
# others, and of streamer.h.
OTHERS = set("""
    io_uring no_proxy https_proxy libstreamer_mpi
    access_key_id secret_access_key session_token bearer_token
    aws_access_key_id aws_secret_access_key aws_session_token role_arn source_profile
    credential_source credential_process endpoint_url addressing_style duration_seconds
    sso_session sso_start_url sso_region sso_account_id sso_role_name login_session access_token
    web_identity_token_file use_fips_endpoint use_dualstack_endpoint ca_bundle
    private_key client_email client_id client_secret refresh_token token_uri service_account
    universe_domain external_account authorized_user
    environment_id region_url regional_cred_verification_url use_accelerate_endpoint
    io_uring_direct io_uring_buffered libaio_direct sync_buffered
    data_offsets weight_map struct_size bytes_offset bytes_size
""".split())
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
WORD = re.compile(r"(?<![\w.{/$-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w(])")
VARIABLE = re.compile(r"\bSTREAMER_[A-Z0-9_]+\b")


def without_comments(text):
    return re.sub(r"^\s*//.*$|^\s*#\s*include.*$", "", text, flags=re.MULTILINE)


def texts_of(source):
    """The literals of a C++ source, neighbours joined, that are texts for people."""
    joined = re.sub(r'"\s*\n\s*"', "", without_comments(source))
    for literal in LITERAL.findall(joined):
        if " " in literal.strip():
            yield literal.replace("\\n", "\n")


def rows_of(source):
    """Of a room's *_settings.hpp: constant, name and other variable of each row, and the constants
    that the room's list at its end has."""
    rows = re.findall(r'^inline constexpr Setting (k\w+)\{\s*RowOf<[^>]*>\{\s*\.name = "([\w.]+)",'
                      r'(?:\s*\.also = "(\w+)",)?', source, re.MULTILINE)
    listed = re.findall(r"&setting::(k\w+)", source[source.rfind("SettingRow* k"):])
    return rows, listed


def rooms_settings(root):
    for top in ("src", "capi"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if name.endswith("_settings.hpp"):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        yield path, *rows_of(file.read())


def wrong_words(text, names, variables):
    for word in WORD.findall(text):
        if word not in names and word not in OTHERS:
            close = difflib.get_close_matches(word, names, 1)
            yield f"\"{word}\" is no setting" + (f"; {close[0]} is" if close else "")
    for variable in VARIABLE.findall(text):
        known = {"STREAMER_LOG_FILE", "STREAMER_LOG_LEVEL", "STREAMER_LIBRARY"} | variables
        if variable not in known and not variable.startswith(("STREAMER_ERROR", "STREAMER_DEVICE")) \
                and not variable.endswith("_INIT") and "*" not in text:
            yield f"{variable} is no setting's variable"


def check_tree(root):
    names, variables = set(), set()
    for path, rows, listed in rooms_settings(root):
        for constant, name, also in rows:
            names.add(name)
            variables.add("STREAMER_" + name.upper().replace(".", "_"))
            if also:
                variables.add(also)
            if constant not in listed:
                yield f"{os.path.relpath(path, root)}: {constant} is not in the list at the end"
    assert len(names) > 50, names
    with open(os.path.join(root, "include/streamer/error_kinds.inc"), encoding="utf-8") as file:
        OTHERS.update(re.findall(r"^STREAMER_ERROR_KIND\((\w+),", file.read(), re.MULTILINE))
    with open(os.path.join(root, "capi/streamer.h"), encoding="utf-8") as file:
        OTHERS.update(re.findall(r"\b(streamer_\w+)\(", file.read()))
    for top in ("src", "capi"):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if not name.endswith((".cpp", ".hpp")):
                    continue
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    for text in texts_of(file.read()):
                        for wrong in wrong_words(text, names, variables):
                            yield f"{os.path.relpath(path, root)}: {wrong}: {text[:80]}"


def self_test():
    row = 'inline constexpr Setting kA{RowOf<Scope::load>{.name = "a", .also = "RUNAI_A", .meaning'
    assert rows_of(row) == ([("kA", "a", "RUNAI_A")], [])
    assert rows_of(row + "\ninline constexpr const SettingRow* kRoom[] = {&setting::kA};")[1] == ["kA"]
    names, variables = {"stall_timeout_ms", "s3_endpoint"}, {"STREAMER_S3_ENDPOINT"}
    for bad in ('f("raise stall_timeout if");', 'f("set "\n  "s3_endpont now");',
                'f("set STREAMER_ENDPOINT now");'):
        assert [w for t in texts_of(bad) for w in wrong_words(t, names, variables)], bad
    for good in ('f("raise stall_timeout_ms if");', 'f("no_such");', '// "raise stall_timeout"',
                 'f("STREAMER_S3_ENDPOINT is it");', 'f("in role_arn of");'):
        assert not [w for t in texts_of(good) for w in wrong_words(t, names, variables)], good


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    wrong = list(check_tree(sys.argv[1]))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
