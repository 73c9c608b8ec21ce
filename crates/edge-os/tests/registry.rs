//! Bundles in a registry: the address that RAUC gets, where credentials go, and what is
//! refused before the first byte.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod device;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use device::server::{Server, Tls, part, redirect, status};
use device::{CONTENT, Device, MANIFEST, bundle, key};
use edge_sim::testbed::example;

const PASSWORD: &str = "the-password";
/// `AWS:the-password` in Base64.
const BASIC: &str = "authorization: basic qvdtonrozs1wyxnzd29yza==";

/// Device whose image names a registry.
fn device(tls: &Tls, registry: &Server) -> Device {
    let device = Device::new();
    let repository = format!("{}/team/edge", registry.host);
    device.put("/etc/edge-ai/container-config/ecr-url.txt", &repository);
    let pem = tls.certificate.to_pem().unwrap();
    device.put("/etc/edge-ai/ca/ca.pem", &String::from_utf8(pem).unwrap());
    device
}

/// Runs `install` from the registry; returns exit code and message.
fn install(device: &Device, arguments: &[&str], password: &[u8]) -> (i32, String) {
    let mut child = Command::new(example("os_at_root"))
        .arg(device.path("/"))
        .arg("install")
        .arg(device.path("/os.dsse.json"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read it has ended.
    let _ = child.stdin.take().unwrap().write_all(password);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains(PASSWORD), "{text}");
    (output.status.code().unwrap(), text)
}

const LOGIN: [&str; 3] = ["--username", "AWS", "--password-stdin"];

#[test]
fn rauc_gets_the_presigned_address_and_nobody_else_the_password() {
    let tls = Tls::new();
    let storage = tls.serve(|head| match head.contains("authorization:") {
        true => status("400 Only one auth mechanism allowed", ""),
        false => part(head, &fs::read(object(head)).unwrap()),
    });
    let place = storage.host.clone();
    let registry = tls.serve(move |head| match head.contains(BASIC) {
        true => redirect(&format!(
            "https://{place}{}?X-Amz-Signature=1",
            target(head)
        )),
        false => status("401 Unauthorized", ""),
    });
    let device = device(&tls, &registry);
    let digest = device.image().bundle;
    // The storage finds the object by the path.
    let path = format!("/v2/team/edge/blobs/{digest}");
    device.put(&path, "");
    fs::copy(device.path("/os.raucb"), device.path(&path)).unwrap();
    DIRECTORY.get_or_init(|| device.path("/"));
    let (code, text) = install(&device, &LOGIN, PASSWORD.as_bytes());
    assert_eq!(code, 0, "{text}");
    let ran = device.ran("/usr/bin/rauc").unwrap();
    let address = format!("https://{}{path}?X-Amz-Signature=1", storage.host);
    assert!(ran.contains(&address), "{ran}");
    assert!(
        !ran.contains(PASSWORD) && !ran.to_lowercase().contains(&BASIC[21..]),
        "{ran}"
    );
    assert!(!text.contains("X-Amz"), "{text}");
    assert!(registry.heads().iter().all(|h| h.contains(BASIC)));
    assert!(!storage.heads().is_empty());
    assert!(storage.heads().iter().all(|h| !h.contains("authorization")));
}

static DIRECTORY: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();

fn target(head: &str) -> String {
    head.split(' ').nth(1).unwrap().into()
}

fn object(head: &str) -> std::path::PathBuf {
    let target = target(head);
    let path = target.split('?').next().unwrap();
    DIRECTORY.get().unwrap().join(&path[1..])
}

type Answer = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// Answers of a registry that lead to no installation, with the reason.
fn refusals(genuine: Vec<u8>, foreign: Vec<u8>) -> Vec<(&'static str, Answer)> {
    let object = genuine.clone();
    let longer = [&genuine[..], b"x"].concat();
    vec![
        (
            "cannot be read in parts",
            Arc::new(move |_: &str| {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    object.len()
                );
                [head.as_bytes(), &object[..]].concat()
            }),
        ),
        (
            "with 200, not 206",
            Arc::new(|_: &str| b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_vec()),
        ),
        (
            "bytes are signed",
            Arc::new(move |head: &str| part(head, &longer)),
        ),
        (
            "did not sign it",
            Arc::new(move |head: &str| part(head, &foreign)),
        ),
        (
            "not https://",
            Arc::new(|_: &str| redirect("http://localhost/x")),
        ),
        ("not https://", Arc::new(|_: &str| redirect("/elsewhere"))),
        (
            "malformed host",
            Arc::new(|_: &str| redirect("https://u:p@localhost/x")),
        ),
        ("malformed host", Arc::new(|_: &str| redirect("https:///x"))),
        ("to nowhere", Arc::new(|_: &str| status("307 X", ""))),
        ("password alone", Arc::new(|_: &str| status("401 X", ""))),
        ("password alone", Arc::new(|_: &str| status("403 X", ""))),
        (
            "does not have the bundle",
            Arc::new(|_: &str| status("404 X", "")),
        ),
        ("with 500, not 206", Arc::new(|_: &str| status("500 X", ""))),
        (
            "in parts",
            Arc::new(|_: &str| b"HTTP/1.1 206 X\r\ncontent-length: 1\r\n\r\nx".to_vec()),
        ),
        ("in parts", Arc::new(|_: &str| b"nonsense\r\n\r\n".to_vec())),
    ]
}

#[test]
fn whatever_else_a_registry_answers_is_refused_before_the_first_byte() {
    let tls = Tls::new();
    let signer = Device::new();
    let genuine = fs::read(signer.path("/os.raucb")).unwrap();
    let image = signer.image();
    // The length of a signature varies.
    let mut strangers = std::iter::repeat_with(|| bundle(CONTENT, MANIFEST, &key()));
    let foreign = strangers.find(|b| b.len() == genuine.len()).unwrap();
    let mut cases = refusals(genuine, foreign);
    // A registry that redirects to itself for ever.
    let own = Arc::new(Mutex::new(String::new()));
    let place = own.clone();
    cases.push((
        "redirects more than 3 times",
        Arc::new(move |_: &str| redirect(&format!("https://{}/x", place.lock().unwrap()))),
    ));
    for (expected, answer) in cases {
        let registry = tls.serve(move |head| answer(head));
        *own.lock().unwrap() = registry.host.clone();
        let device = device(&tls, &registry);
        // The key of the device that signed the bundle.
        let path = device.path("/etc/edge-ai/container-config/os-signing.pub");
        fs::write(path, &signer.key.public).unwrap();
        let role = edge_signature::dsse::Role::Os;
        device.sign(role, &signer.key, &image.payload());
        let (code, text) = install(&device, &[], b"");
        assert_eq!(code, 7, "{expected}: {text}");
        assert!(text.contains(expected), "{expected}: {text}");
        assert_eq!(device.ran("/usr/bin/rauc"), None, "{expected}");
        assert_eq!(device.read("RootfsStatusSlotB"), Some(0), "{expected}");
        assert!(registry.heads().len() <= 5, "{expected}");
    }
}

#[test]
fn passwords_that_no_registry_accepts_are_not_sent() {
    let tls = Tls::new();
    let registry = tls.serve(|_| status("401 X", ""));
    let device = device(&tls, &registry);
    for password in [
        &b""[..],
        b"\n",
        b"a\0b",
        b"a\nb",
        &[b'a'; 20_000],
        b"\xff\xfe",
    ] {
        let (code, text) = install(&device, &LOGIN, password);
        assert_eq!(code, 2, "{text}");
    }
    for arguments in [
        &["--username", "AWS"][..],
        &["--password-stdin"],
        &["--username", "a:b", "--password-stdin"],
    ] {
        assert_eq!(install(&device, arguments, b"x").0, 2, "{arguments:?}");
    }
    assert!(registry.heads().is_empty());
    let (code, text) = install(&device, &LOGIN, b"x\n");
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("does not accept the password"), "{text}");
}
