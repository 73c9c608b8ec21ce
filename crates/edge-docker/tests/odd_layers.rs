//! Layers whose archives are unusual: an honest one is as it was loaded, whatever is in it,
//! and each edit of one is found.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use std::process::Command;

use device::{Device, output_text};
use edge_signature::Digest;
use serde_json::json;

/// Writes the archives of two layers with entries of all kinds to standard output of
/// `argv[1]`, the number of the layer.
const ARCHIVES: &str = r#"
import io, sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT)
def add(name, kind=tarfile.REGTYPE, data=b"", **more):
    item = tarfile.TarInfo(name)
    item.type, item.size, item.mode = kind, len(data), more.pop("mode", 0o644)
    for key, value in more.items(): setattr(item, key, value)
    out.addfile(item, io.BytesIO(data))
if sys.argv[1] == "0":
    add("./", tarfile.DIRTYPE, mode=0o755)
    add("usr/", tarfile.DIRTYPE, mode=0o755)
    add("usr/lib/", tarfile.DIRTYPE, mode=0o2775, gid=50)
    for name in ("gone", "kept"): add("old/" + name, data=b"x")
    add("hidden/below", data=b"x")
else:
    # A path through a link of the same layer, and one that leads out of the root.
    add("usr/lib/", tarfile.DIRTYPE, mode=0o2775, gid=50)
    add("lib", tarfile.SYMTYPE, linkname="usr/lib")
    add("lib/by-link", data=b"through the link")
    add("abs", tarfile.SYMTYPE, linkname="/usr/lib")
    add("abs/by-root", data=b"through the other link")
    add("up", tarfile.SYMTYPE, linkname="../../../../../../etc/passwd")
    # Hard links of which the last one says what the mode is.
    add("one", data=b"shared", mode=0o600)
    add("two", tarfile.LNKTYPE, linkname="one", mode=0o640, uid=7)
    add("three", tarfile.LNKTYPE, linkname="./one", mode=0o4755, uid=8)
    for kind, name in ((tarfile.CHRTYPE, "char"), (tarfile.BLKTYPE, "block")):
        add("dev/" + name, kind, devmajor=7, devminor=300)
    add("fifo", tarfile.FIFOTYPE, mode=0o622)
    add("user", data=b"x", pax_headers={"SCHILY.xattr.user.note": "a", "SCHILY.xattr.user.empty": ""})
    add("ping", data=b"x", pax_headers={"SCHILY.xattr.security.capability":
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".decode("latin-1")})
    add("n" * 255, data=b"long")
    deep = "/".join("d" * 200 for _ in range(18))
    add(deep + "/file", data=b"deep")
    add("latin-\udce9", data=b"not UTF-8")
    add("space \n tab\t", data=b"odd")
    add("big-id", data=b"x", uid=4000000000, gid=3000000)
    add("old/.wh.gone"); add("old/.wh.back"); add("old/back", data=b"x")
    add("hidden/.wh..wh..opq"); add("hidden/new", data=b"x")
    add("empty/", tarfile.DIRTYPE, mode=0o1777)
    add("zeros", data=bytes(3 << 20))
out.close()
"#;

/// Shell function for extended attributes, like the program `setfattr`.
const SETFATTR: &str = r#"setfattr() { python3 -c '
import os, sys
how, name, *value, path = [a for a in sys.argv[1:] if a != "-v"]
if how == "-x": os.removexattr(path, name)
else:
    value = value[0]
    value = bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
    os.setxattr(path, name, value)
' "$@"; }
"#;

/// Program that edits one path below `argv[1]`, and the text that tells.
const EDITS: &[(&str, &str)] = &[
    (
        "printf X | dd of=usr/lib/by-link bs=1 seek=2 conv=notrunc",
        "the content of /",
    ),
    ("chmod 600 one", " of /one is another"),
    ("chown 9 two", "the owner of /"),
    (
        "cp -p one four && rm three && mv four three",
        "the link of /three",
    ),
    ("setfattr -n user.note -v b user", "the attributes of /user"),
    (
        "setfattr -n user.empty -v '' user",
        "the attributes of /user",
    ),
    (
        "setfattr -n user.more -v x zeros",
        "the attributes of /zeros",
    ),
    (
        "setfattr -x security.capability ping",
        "the attributes of /ping",
    ),
    (
        "setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 one",
        "the attributes of /",
    ),
    (
        "setfattr -n trusted.overlay.redirect -v /etc empty",
        "the attributes of /empty",
    ),
    (
        "setfattr -n trusted.overlay.metacopy -v '' zeros",
        "the attributes of /zeros",
    ),
    (
        "setfattr -n trusted.overlay.opaque -v y empty",
        "/empty hides what lies below",
    ),
    (
        "setfattr -x trusted.overlay.opaque hidden",
        "/hidden hides what lies below",
    ),
    (
        "setfattr -n trusted.overlay.opaque -v y old",
        "/old hides what lies below",
    ),
    ("rm old/gone", "/old/gone is not removed"),
    (
        "rm old/gone && mknod old/gone c 0 1",
        "/old/gone is not removed",
    ),
    ("mknod old/kept c 0 0", "/old/kept was added"),
    ("touch hidden/below", "/hidden/below was added"),
    ("mkdir new", "/new was added"),
    ("ln one five", "/five was added"),
    ("rm lib && ln -s usr/lib64 lib", "is missing"),
    ("rm lib && ln -s usr/lib/ lib", "the target of /lib"),
    ("rm up && ln -s ../etc/shadow up", "the target of /up"),
    ("rm abs && mkdir abs", "is missing"),
    (
        "rm dev/char && mknod dev/char c 7 299",
        "the kind of /dev/char",
    ),
    (
        "rm dev/block && mknod dev/block c 7 300",
        "the kind of /dev/block",
    ),
    ("rm fifo && mkfifo -m 666 fifo", "the mode of /fifo"),
    ("rm zeros && ln -s /dev/zero zeros", "the kind of /zeros"),
    ("rm zeros && mkfifo zeros", "the kind of /zeros"),
    ("rm zeros && mkdir zeros", "the kind of /zeros"),
    ("truncate -s 1T zeros", "the size of /zeros"),
    ("truncate -s 1 zeros", "the size of /zeros"),
    ("truncate -s 0 zeros", "the size of /zeros"),
    ("rm -r dddd*", "is missing"),
    ("touch \"$(echo dddd*/dddd*)/x\"", "was added"),
    ("chmod 777 empty", "the mode of /empty"),
    // Directories that no entry of the archive names.
    ("chmod 777 old", "owner or mode of /old"),
    ("chmod 4755 dev", "owner or mode of /dev"),
    ("chown 1000 dev", "owner or mode of /dev"),
    (
        "chown 0:50 \"$(echo dddd*/dddd*)\"",
        "owner or mode of /dddd",
    ),
    ("chown 1 latin*", "the owner of /latin"),
];

fn archive(layer: &str) -> Vec<u8> {
    let output = Command::new("python3")
        .args(["-c", ARCHIVES, layer])
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
    output.stdout
}

#[test]
fn unusual_archives_are_as_loaded_and_edits_are_found() {
    let mut device = Device::start();
    device.start_engine();
    let id = load(&device, &[archive("0"), archive("1")]);
    let as_loaded = format!("image {}: 2 layers as loaded", &id[7..19]);
    assert_eq!(device.good(&["edge-docker", "fsck"]), as_loaded);
    let form = "{{.GraphDriver.Data.UpperDir}}";
    let top = device.good(&["docker", "inspect", "-f", form, &id]);
    let (layer, aside) = (top.trim_end_matches("/diff"), format!("{top}.aside"));
    let mut unexpected = Vec::new();
    for (edit, expected) in EDITS {
        let script = format!("{SETFATTR} cp -a {top} {aside} && cd {top} && {edit}");
        device.good(&["sh", "-c", &script]);
        let output = device.run(&["edge-docker", "fsck"]);
        let told = output_text(&output);
        let is_found = output.status.code() == Some(3) && told.contains("layer 2 of 2");
        if !is_found || !told.contains(expected) {
            unexpected.push(format!("{edit}: {told}"));
        }
        let script = format!("rm -rf {top} && mv {aside} {top}");
        device.good(&["sh", "-c", &script]);
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    assert_eq!(device.good(&["edge-docker", "fsck"]), as_loaded);
    metadata(&device, &id, layer, &as_loaded);
}

/// Edits of the engine's description of the layer.
fn metadata(device: &Device, id: &str, layer: &str, as_loaded: &str) {
    let cache = layer.rsplit('/').next().unwrap();
    let script =
        "cd /data/docker/image/overlay2/layerdb/sha256 && dirname $(grep -l CACHE */cache-id)";
    let place = device.good(&["sh", "-c", &script.replace("CACHE", cache)]);
    let split = format!("/data/docker/image/overlay2/layerdb/sha256/{place}/tar-split.json.gz");
    let edited = |python: &str| {
        format!(
            "python3 -c 'import gzip, json, base64; p = \"{split}\"\nlines = gzip.open(p).read().splitlines(True)\n\
             {python}\nopen(p, \"wb\").write(gzip.compress(b\"\".join(lines)))'"
        )
    };
    for edit in [
        format!("rm {split}"),
        format!("truncate -s 100 {split}"),
        format!("truncate -s 0 {split}"),
        format!("printf x > {split}"),
        format!("rm {split} && mkfifo {split}"),
        format!("rm {split} && ln -s /dev/zero {split}"),
        edited("lines = lines[:len(lines) // 2]"),
        edited("lines = lines[::-1]"),
        edited("lines = []"),
        edited("lines = [b\"x\" * (20 << 20)]"),
        edited("lines = [b\"{}\\n\"] + lines"),
        edited("lines.append(json.dumps({\"type\": 2, \"payload\": \"!\"}).encode())"),
        edited(
            "lines[0] = json.dumps({\"type\": 1, \"name\": \"../../../../etc/shadow\", \"size\": 9}).encode()",
        ),
        edited(
            "lines.insert(3, json.dumps({\"type\": 1, \"name\": \"zeros\", \"size\": 1 << 62}).encode() + b\"\\n\")",
        ),
        edited("lines *= 3"),
    ] {
        let script = format!("cp -a {split} /data/aside && {edit}");
        device.good(&["sh", "-c", &script]);
        let output = device.run(&["edge-docker", "fsck"]);
        let (code, told) = (output.status.code(), output_text(&output));
        assert!(
            code == Some(3) && told.contains("layer 2 of 2"),
            "{edit}: {code:?} {told}"
        );
        device.good(&[
            "sh",
            "-c",
            &format!("rm -f {split}; mv /data/aside {split}"),
        ]);
    }
    assert_eq!(device.good(&["edge-docker", "fsck"]), as_loaded, "{id}");
}

/// Loads an image of these layers; returns its ID.
fn load(device: &Device, layers: &[Vec<u8>]) -> String {
    let digests: Vec<_> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests } });
    let config = config.to_string().into_bytes();
    let names: Vec<_> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    let contents =
        json!([{ "Config": "config.json", "RepoTags": ["sandbox/odd:v1"], "Layers": names }]);
    let contents = contents.to_string().into_bytes();
    let mut archive = tar::Builder::new(Vec::new());
    let files = names.iter().map(String::as_str).zip(layers);
    for (name, content) in files.chain([("config.json", &config), ("manifest.json", &contents)]) {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, name, &content[..])
            .unwrap();
    }
    let output = device.feed(&["edge-docker", "load"], &archive.into_inner().unwrap());
    assert!(output.status.success(), "{}", output_text(&output));
    Digest::of(&config).to_string()
}
