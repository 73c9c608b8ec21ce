//! Signed images on a server.

use std::time::Duration;

use edge_signature::{
    Annotations, CachedSignature, Credentials, Digest, Draft, Error, Format, ImageRef, Manifest,
    Registry, Signed, Verified, architecture, sign_with_pem,
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
    pub fn sign(&self, server: &Server, digest: &Digest, format: Format, release: u64) -> Signed {
        let annotations = Annotations {
            app: "hello".into(),
            version: "v1".into(),
            release_number: release,
            grants: Vec::new(),
            run: None,
        };
        let draft = Draft::new(format, &image(server, "hello-v1"), digest, &annotations);
        self.complete(draft)
    }

    /// Adds the team's signature to a payload.
    pub fn complete(&self, draft: Draft) -> Signed {
        let signature = sign_with_pem(&self.private, &draft.to_sign()).unwrap().0;
        draft.signed(signature)
    }

    /// Signs an image on the server and pushes the signature.
    pub async fn push_signature(
        &self,
        server: &Server,
        digest: &Digest,
        format: Format,
        release: u64,
    ) {
        let signed = self.sign(server, digest, format, release);
        let manifest = Manifest::new(server.manifest(digest.as_str()).unwrap());
        let registry = registry(server);
        registry
            .push_signature(&self.keys, &manifest, &signed)
            .await
            .unwrap();
        server.requests();
    }
}

pub fn registry(server: &Server) -> Registry {
    let credentials = Credentials {
        username: "AWS".into(),
        password: "secret".into(),
    };
    client(server, Some(credentials), Duration::from_secs(20))
}

/// A client with a short time limit and no credentials.
pub fn impatient(server: &Server) -> Registry {
    client(server, None, Duration::from_millis(400))
}

fn client(server: &Server, credentials: Option<Credentials>, timeout: Duration) -> Registry {
    let repository = server.repository().parse().unwrap();
    let ca_bundle = [server.ca_certificate.clone()];
    Registry::with_timeout(&repository, credentials, &ca_bundle, timeout).unwrap()
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

/// Puts an index of two images under `v1`; returns its digest and that of the image for this
/// platform.
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
    let index = server.put_manifest("hello-v1", INDEX, index.to_string().as_bytes());
    (index, Digest::of(&image_manifest("ours")))
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

pub async fn verify(team: &Team, server: &Server) -> Result<(Verified, CachedSignature), Error> {
    registry(server)
        .verify(&team.keys, &image(server, "hello-v1"))
        .await
}

/// Verifies, and verifies again without a network from the cached bytes.
pub async fn verify_twice(team: &Team, server: &Server) -> (Verified, CachedSignature) {
    let (verified, cached) = verify(team, server).await.unwrap();
    let text = serde_json::to_vec(&cached).unwrap();
    let read: CachedSignature = serde_json::from_slice(&text).unwrap();
    let repository = server.repository().parse().unwrap();
    assert_eq!(read.verify(&team.keys, &repository).unwrap(), verified);
    (verified, cached)
}
