//! Registry endpoint on the loopback interface to which the user's engine pushes one
//! image: the engine sends only the layers that the target lacks, where `docker image save`
//! would write the whole image. See docs/decisions/0049-changes-by-docker-push.md.
//!
//! The endpoint speaks as much of the OCI distribution specification as `docker push`
//! needs. It listens on 127.0.0.1 while the command runs, below an unguessable path, and
//! serves one image.

mod routes;
mod shared;
mod uploads;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, bail};
use edge_common::exit::Failure;
use edge_common::log;
use edge_signature::Digest;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::exit_code::SIGNATURE;
use crate::image::docker::{self, LocalImage};
use crate::image::endpoint::shared::Shared;
pub(crate) use crate::image::endpoint::shared::Target;

/// Number of pushes of one image: the first one may show that the target lacks layers of
/// which the engine knew a digest, the second one sends them.
const MAX_PUSHES: usize = 3;

/// Result of a push to the endpoint.
pub(crate) enum Outcome {
    /// The image arrived, except for layers that the target is supposed to have.
    Arrived(Arrived),
    /// The engine does not reach the endpoint, for the given reason.
    Unreachable(String),
    /// The new layers are larger than the limit of [`Target::Memory`].
    TooLarge,
}

/// Image that the engine pushed.
pub(crate) struct Arrived {
    /// Configuration, whose digest or whose manifest's digest is the image ID.
    pub(crate) config: Vec<u8>,
    /// Layers, the lowest first.
    pub(crate) layers: Vec<Layer>,
}

/// Layer of an image that the engine pushed.
pub(crate) struct Layer {
    /// Digest of the uncompressed layer.
    pub(crate) diff_id: String,
    /// Digest of the compressed layer, as the engine names it.
    pub(crate) digest: Digest,
    /// Media type of the compressed layer.
    pub(crate) media_type: String,
    /// Size of the compressed layer; `None` if the engine was told that the target has it
    /// although that is not certain.
    pub(crate) size: Option<u64>,
    /// Compressed content, if it arrived and was not forwarded.
    pub(crate) content: Option<Vec<u8>>,
}

/// Endpoint that is open for pushes. Dropping it closes it.
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    name: String,
    server: JoinHandle<()>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Entry,
    layers: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: Digest,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl Endpoint {
    /// Opens the endpoint for the image with the ID `image`.
    pub(crate) async fn open(image: &str, target: Target) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("listening on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let mut random = [0; 20];
        openssl::rand::rand_bytes(&mut random).context("reading random bytes")?;
        let secret = edge_common::hex::encode(random);
        let shared = Arc::new(Shared {
            image: image.into(),
            target,
            contacted: AtomicBool::new(false),
            held: AtomicU64::new(0),
            failed: Notify::new(),
            state: Mutex::default(),
            secret: secret.clone(),
        });
        Ok(Self {
            name: format!("127.0.0.1:{port}/{secret}/{}:image", routes::REPOSITORY),
            server: tokio::spawn(routes::serve(listener, Arc::clone(&shared))),
            shared,
        })
    }

    /// Lets the engine push the image.
    pub(crate) async fn receive(&self, image: &LocalImage) -> Result<Outcome> {
        if let Some(host) = docker::remote_host().await {
            return Ok(Outcome::Unreachable(format!("docker is at {host}")));
        }
        let _tag = docker::tag(&image.id, &self.name).await?;
        for _ in 0..MAX_PUSHES {
            self.shared.state().manifest = None;
            let pushed = tokio::select! {
                pushed = docker::push(&self.name) => pushed?,
                () = self.shared.failed.notified() => return self.failure(),
            };
            if !self.shared.contacted.load(Ordering::Relaxed) {
                let why = pushed
                    .err()
                    .unwrap_or_else(|| "another program answers".into());
                return Ok(Outcome::Unreachable(why));
            }
            if let Err(output) = pushed {
                if self.shared.state().failure.is_some() {
                    return self.failure();
                }
                bail!("docker push: {output}");
            }
            if let Some(arrived) = self.shared.arrived(image)? {
                if let Some(progress) = self.shared.state().progress.take() {
                    progress.finish();
                }
                return Ok(Outcome::Arrived(arrived));
            }
        }
        bail!("docker does not push the configuration of {}", image.id)
    }

    /// Lets the engine push the image. Returns `None` if that is not possible, after saying
    /// so, or if its layers do not fit: the whole image has to be read then.
    pub(crate) async fn receive_if_possible(&self, image: &LocalImage) -> Result<Option<Arrived>> {
        Ok(match self.receive(image).await? {
            Outcome::Arrived(image) => Some(image),
            Outcome::Unreachable(why) => {
                log::info(format_args!(
                    "docker cannot push to edge-app on this computer, so the whole image is \
                     read: {why}"
                ));
                None
            }
            Outcome::TooLarge => None,
        })
    }

    /// Refuses digests of which the engine was told that the target has them, so that the
    /// next push sends these layers.
    pub(crate) fn deny(&self, digests: Vec<Digest>) {
        self.shared.state().denied.extend(digests);
    }

    fn failure(&self) -> Result<Outcome> {
        let mut state = self.shared.state();
        match state.failure.take() {
            _ if state.too_large => Ok(Outcome::TooLarge),
            Some(error) => Err(error),
            None => Err(anyhow!("the push to this computer failed")),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    /// Returns the image of the last manifest; `None` if the engine must send its
    /// configuration again.
    fn arrived(&self, image: &LocalImage) -> Result<Option<Arrived>> {
        let mut state = self.state();
        let bytes = state.manifest.take();
        let bytes = bytes.context("docker push ended without a manifest")?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).context("reading the manifest that docker pushed")?;
        let config = &manifest.config.digest;
        let received = state.received.get(config).and_then(|r| r.content.clone());
        let Some(config_bytes) = received else {
            state.denied.insert(config.clone());
            return Ok(None);
        };
        // The overlay2 store names an image by its configuration, the containerd store by
        // its manifest.
        let ids = [config.clone(), Digest::of(&bytes)];
        let parsed: Config = serde_json::from_slice(&config_bytes)
            .context("reading the configuration that docker pushed")?;
        let diff_ids = parsed.rootfs.diff_ids;
        let same = ids.iter().any(|id| id.as_str() == image.id) && diff_ids == image.layers;
        if !same || diff_ids.len() != manifest.layers.len() {
            let why = format!(
                "docker pushed another image than {}: build it again",
                image.id
            );
            return Err(Failure::error(SIGNATURE, why));
        }
        let layers = diff_ids.into_iter().zip(manifest.layers);
        let layers = layers.map(|(diff_id, entry)| {
            let received = state.received.get(&entry.digest);
            let content = received.and_then(|r| r.content.clone());
            let size = received.map(|r| r.size);
            Layer {
                diff_id,
                size: size.or_else(|| state.present.get(&entry.digest).copied()),
                digest: entry.digest,
                media_type: entry.media_type,
                content,
            }
        });
        Ok(Some(Arrived {
            config: config_bytes,
            layers: layers.collect(),
        }))
    }
}
