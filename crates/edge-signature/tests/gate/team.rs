//! A team with a key, and images of it on a server.

use std::time::Duration;

use edge_signature::{
    Annotations, Credentials, Digest, Draft, Error, Format, ImageRef, Manifest, Proof, Registry,
    Signed, Verified, architecture, sign_with_pem,
};
use serde_json::json;

use crate::keys::Team;
use crate::server::Server;

pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub const BOTH: [Format; 2] = [Format::V2, Format::V3];

impl Team {
    pub fn sign(&self, server: &Server, digest: &Digest, format: Format, serial: u64) -> Signed {
        let annotations = Annotations {
            app: "hello".into(),
            version: "v1".into(),
            serial,
            grants: Vec::new(),
        };
        let draft = Draft::new(format, &image(server, "v1"), digest, &annotations);
        let signature = sign_with_pem(&self.private, &draft.to_sign()).unwrap().0;
        draft.signed(signature)
    }

    /// Signs what is on the server and puts the signature there.
    pub async fn attach(&self, server: &Server, digest: &Digest, format: Format, serial: u64) {
        let signed = self.sign(server, digest, format, serial);
        let manifest = Manifest::new(server.manifest(digest.as_str()).unwrap());
        let registry = registry(server);
        registry
            .attach(&self.keys, &manifest, &signed)
            .await
            .unwrap();
        server.asked();
    }
}

pub fn registry(server: &Server) -> Registry {
    let credentials = Credentials {
        username: "AWS".into(),
        password: "secret".into(),
    };
    with(server, Some(credentials), Duration::from_secs(20))
}

/// One that does not wait long.
pub fn hasty(server: &Server) -> Registry {
    with(server, None, Duration::from_millis(400))
}

pub fn with(server: &Server, credentials: Option<Credentials>, patience: Duration) -> Registry {
    let repository = server.repository().parse().unwrap();
    let ca_bundle = [server.authority.clone()];
    Registry::patient(&repository, credentials, &ca_bundle, patience).unwrap()
}

pub fn image(server: &Server, tag: &str) -> ImageRef {
    format!("{}:{tag}", server.repository()).parse().unwrap()
}

pub fn image_manifest(name: &str) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI, "layers": [],
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": name.len(),
            "digest": Digest::of(name.as_bytes()) },
    });
    manifest.to_string().into_bytes()
}

pub fn put_image(server: &Server, tag: &str) -> Digest {
    server.put_manifest(tag, OCI, &image_manifest(tag))
}

/// An index of two images under `v1`; gives the digests of it and of ours.
pub fn put_index(server: &Server) -> (Digest, Digest) {
    let entry = |name: &str, architecture: &str| {
        let bytes = image_manifest(name);
        let digest = server.put_manifest(name, OCI, &bytes);
        json!({ "mediaType": OCI, "digest": digest, "size": bytes.len(),
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry("other", "s390x"), entry("ours", architecture())],
    });
    let index = server.put_manifest("v1", INDEX, index.to_string().as_bytes());
    (index, Digest::of(&image_manifest("ours")))
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

pub async fn prove(team: &Team, server: &Server) -> Result<(Verified, Proof), Error> {
    registry(server)
        .prove(&team.keys, &image(server, "v1"))
        .await
}

/// Proves, and proves again without network from the bytes that are kept.
pub async fn proved(team: &Team, server: &Server) -> (Verified, Proof) {
    let (verified, proof) = prove(team, server).await.unwrap();
    let text = serde_json::to_vec(&proof).unwrap();
    let kept: Proof = serde_json::from_slice(&text).unwrap();
    let repository = server.repository().parse().unwrap();
    assert_eq!(kept.verify(&team.keys, &repository).unwrap(), verified);
    (verified, proof)
}
