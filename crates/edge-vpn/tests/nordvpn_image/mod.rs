//! Container image of a simulated client with NordVPN's documented messages, and its
//! signature.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use edge_app_spec::Spec;
use edge_docker_policy::run_spec::RunSpec;
use edge_signature::{Annotations, CachedSignature, Digest, ImageRef, Manifest, Signed};
use serde_json::json;

pub const REPOSITORY: &str = "registry.test/edge-ai";
pub const TOKEN: &str = "e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2";
/// Simulated client. Setting its address takes NET_ADMIN.
const CLIENT: &str = r#"#!/bin/sh
s=/var/lib/nordvpn
case "$*" in
daemon) [ -c /dev/net/tun ] && hostname >$s/host || exit 1
	[ ! -e /on ] || ip address add 100.64.0.15/32 dev lo
	exec sleep 100000 ;;
"set analytics off") : >$s/consent ;;
"login") read -r token; [ -e $s/consent ] && [ "$token" = e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2e79f42d7a18c11b2 ] && : >$s/in && echo Welcome ;;
"set meshnet on") ip address add 100.64.0.15/32 dev lo && : >/on && echo "Meshnet is set to 'enabled' successfully." ;;
"meshnet set nickname "*) echo "$4" >$s/nick ;;
"meshnet peer list")
	[ -e $s/in ] || { echo "You're not logged in."; exit 1; }
	[ -e /on ] || { echo "Meshnet is not enabled."; exit 1; }
	echo "This device:"
	[ ! -e $s/nick ] || echo "Nickname: $(cat $s/nick)"
	printf 'Hostname: me-alps.nord\nIP: 100.64.0.15\n\nLocal Peers:\n[no peers]\n'
	;;
esac
"#;
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nENV PATH=/bin\n\
    COPY nordvpn nordvpn-login /bin/\nSTOPSIGNAL SIGKILL\nCMD [\"/bin/nordvpn\", \"daemon\"]\n";
/// Files of the build context, beside busybox.
pub const FILES: [(&str, &[u8]); 3] = [
    ("Dockerfile", DOCKERFILE.as_bytes()),
    ("nordvpn", CLIENT.as_bytes()),
    ("nordvpn-login", b"#!/bin/sh\nexec nordvpn login\n"),
];

/// Run specification of `docs/examples/nordvpn`.
fn specification() -> RunSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/nordvpn/app.yaml");
    let text = fs::read_to_string(path).unwrap();
    let none = |_: &str| Ok(None);
    Spec::parse(&text, "app.yaml", &none).unwrap().run_spec()
}

/// Returns the digest of the image with the ID `id`, and the files of the device that a
/// pull leaves: cached signature with the run specification of the example, and tag.
pub fn signed(
    key: &[u8],
    id: &str,
    version: &str,
    grants: &[&str],
) -> (String, [(String, String); 2]) {
    let spec = specification().to_bytes().unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": 2 },
        "layers": [], "annotations": { "grants": grants.join(","), "version": version },
    });
    let manifest = Manifest::new(manifest.to_string().into_bytes());
    let annotations = Annotations {
        app: "nordvpn".into(),
        version: version.into(),
        release_number: 1,
        grants: grants.iter().map(ToString::to_string).collect(),
        run: Some(Digest::of(&spec)),
    };
    let reference: ImageRef = format!("{REPOSITORY}:nordvpn-{version}").parse().unwrap();
    let payload = edge_signature::payload(&reference, &manifest.digest, &annotations);
    let (signature, _) = edge_signature::sign_with_pem(key, &payload).unwrap();
    let proof = CachedSignature::new(&manifest, vec![Signed::new(payload, signature)]);
    let proof = serde_json::to_string(&proof.with_run_spec(spec)).unwrap();
    let directory = "/data/config/edge-docker";
    let digest = manifest.digest.to_string();
    let files = [
        (
            format!("{directory}/proofs/{}.json", manifest.digest.hex()),
            proof,
        ),
        (
            format!("{directory}/tags/nordvpn-{version}"),
            digest.clone(),
        ),
    ];
    (digest, files)
}
