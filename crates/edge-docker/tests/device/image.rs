//! Container image of programs of this machine, loaded and signed.

use std::fs;
use std::process::Command;

use edge_docker_policy::run_spec::RunSpec;
use edge_signature::{Annotations, CachedSignature, Digest, ImageRef, Manifest, Signed};
use serde_json::json;

use super::{Device, REPOSITORY, output_text};

/// Container image that is loaded, and signed as an app.
pub struct Image {
    pub id: String,
    /// `REPOSITORY@DIGEST`
    pub name: String,
    pub layers: Vec<String>,
    pub manifest: Manifest,
}

impl Device {
    /// Loads an image of two layers and writes its cached signature, as a pull does.
    /// `ballast` is the size of additional files.
    pub fn image(&self, app: &str, ballast: usize) -> Image {
        self.release(app, 1, &["sleep", "1000"], ballast)
    }

    /// Builds `sandbox/lamp:TAG` from `sandbox/lamp:base` with this `USER` and these files in
    /// `/etc`.
    pub fn build_lamp(&self, tag: &str, user: &str, files: &[(&str, &str)]) {
        let copies = files.iter().map(|(name, _)| format!("COPY {name} /etc/\n"));
        let copies: String = copies.collect();
        let dockerfile = format!("FROM sandbox/lamp:base\n{copies}USER {user}\n");
        let mut archive = tar::Builder::new(Vec::new());
        for (name, text) in files.iter().chain(&[("Dockerfile", &*dockerfile)]) {
            add(&mut archive, name, 0o644, text.as_bytes());
        }
        let name = format!("sandbox/lamp:{tag}");
        let context = archive.into_inner().unwrap();
        let output = self.feed(&["edge-docker", "build", "-t", &name, "-"], &context);
        assert!(output.status.success(), "{}", output_text(&output));
    }

    /// Loads and signs the image as [`Self::image`] does, with a release number and with the
    /// command of its version.
    pub fn release(&self, app: &str, number: u64, command: &[&str], ballast: usize) -> Image {
        let layers = layers(ballast);
        let digests = layers.each_ref().map(|l| Digest::of(l).to_string());
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": { "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": command,
                "WorkingDir": "/tmp/", "Volumes": { "/cache": {} },
                "Labels": { "maker": app, "number": number.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": digests },
        });
        let config = config.to_string().into_bytes();
        let id = Digest::of(&config);
        let contents = json!([{ "Config": "config.json", "RepoTags": [format!("sandbox/{app}:{}", tag(number))],
            "Layers": ["0/layer.tar", "1/layer.tar"] }]);
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in [
            ("config.json", &config),
            ("0/layer.tar", &layers[0]),
            ("1/layer.tar", &layers[1]),
            ("manifest.json", &contents.to_string().into_bytes()),
        ] {
            add(&mut archive, name, 0o644, content);
        }
        let output = self.feed(&["edge-docker", "load"], &archive.into_inner().unwrap());
        assert!(output.status.success(), "{}", output_text(&output));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": id.as_str(), "size": config.len() },
            "layers": [],
        });
        let manifest = Manifest::new(manifest.to_string().into_bytes());
        let name = self.sign(&manifest, &[(app, &format!("v{number}"), number)]);
        Image {
            id: id.to_string(),
            name,
            layers: digests.to_vec(),
            manifest,
        }
    }

    /// Writes the cached signature of a manifest that is signed for these apps and
    /// versions, with these release numbers.
    pub fn sign(&self, manifest: &Manifest, versions: &[(&str, &str, u64)]) -> String {
        let key = fs::read(self.path("/data/key.pem")).unwrap();
        let sign = |(app, version, release_number): &(&str, &str, u64)| {
            let annotations = Annotations {
                app: (*app).into(),
                version: (*version).into(),
                release_number: *release_number,
                grants: Vec::new(),
                run: None,
            };
            let reference = format!("{REPOSITORY}:{app}-{version}");
            let reference: ImageRef = reference.parse().unwrap();
            let payload = edge_signature::payload(&reference, &manifest.digest, &annotations);
            let (signature, _) = edge_signature::sign_with_pem(&key, &payload).unwrap();
            Signed::new(payload, signature)
        };
        let cached = CachedSignature::new(manifest, versions.iter().map(sign).collect());
        let hex = manifest.digest.hex();
        let path = format!("/data/config/edge-docker/proofs/{hex}.json");
        self.write(&path, &serde_json::to_vec(&cached).unwrap());
        format!("{REPOSITORY}@{}", manifest.digest)
    }

    /// Signs a manifest as the app of `spec`, with its grants; see [`Self::sign_specified`].
    pub fn sign_spec(&self, manifest: &Manifest, version: &str, number: u64, spec: &RunSpec) {
        let bytes = spec.to_bytes().unwrap();
        let annotations = Annotations {
            app: spec.app.clone(),
            version: version.into(),
            release_number: number,
            grants: spec.grants.clone(),
            run: Some(Digest::of(&bytes)),
        };
        self.sign_specified(manifest, &annotations, Some(bytes));
    }

    /// Writes the cached signature of a manifest with its run specification, and the tag
    /// of the version, as a pull does.
    pub fn sign_specified(
        &self,
        manifest: &Manifest,
        annotations: &Annotations,
        spec: Option<Vec<u8>>,
    ) {
        let tag = format!("{}-{}", annotations.app, annotations.version);
        let reference: ImageRef = format!("{REPOSITORY}:{tag}").parse().unwrap();
        let payload = edge_signature::payload(&reference, &manifest.digest, annotations);
        let key = fs::read(self.path("/data/key.pem")).unwrap();
        let (signature, _) = edge_signature::sign_with_pem(&key, &payload).unwrap();
        let cached = CachedSignature::new(manifest, vec![Signed::new(payload, signature)]);
        let cached = match spec {
            Some(spec) => cached.with_run_spec(spec),
            None => cached,
        };
        let (hex, digest) = (manifest.digest.hex(), manifest.digest.as_str());
        let path = format!("/data/config/edge-docker/proofs/{hex}.json");
        self.write(&path, &serde_json::to_vec(&cached).unwrap());
        let path = format!("/data/config/edge-docker/tags/{tag}");
        self.write(&path, digest.as_bytes());
    }
}

/// Other tests refer to the first version as `base`.
fn tag(number: u64) -> String {
    match number {
        1 => "base".into(),
        number => format!("v{number}"),
    }
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content).unwrap();
}

/// Returns two layers, the lowest first. `ballast` is the size of additional files.
pub fn layers(ballast: usize) -> [Vec<u8>; 2] {
    [programs(), extra(ballast)]
}

/// Returns a layer of programs of this machine, with their libraries.
fn programs() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut directory = tar::Header::new_ustar();
    directory.set_entry_type(tar::EntryType::Directory);
    directory.set_mode(0o1777);
    directory.set_size(0);
    archive
        .append_data(&mut directory, "tmp/", &[][..])
        .unwrap();
    let mut libraries = std::collections::BTreeSet::new();
    for program in ["sleep", "cat", "ls", "sh"] {
        let path = fs::canonicalize(format!("/bin/{program}")).unwrap();
        let listed = Command::new("ldd").arg(&path).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let paths = listed.split_whitespace().filter(|w| w.starts_with('/'));
        libraries.extend(paths.map(String::from));
        add(
            &mut archive,
            &format!("bin/{program}"),
            0o755,
            &fs::read(path).unwrap(),
        );
    }
    for library in libraries {
        add(
            &mut archive,
            library.trim_start_matches('/'),
            0o755,
            &fs::read(&library).unwrap(),
        );
    }
    archive.into_inner().unwrap()
}

/// Returns a layer with an entry of each kind, above the first.
fn extra(ballast: usize) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "etc/app.conf", 0o640, b"signed\n");
    add(&mut archive, "bin/.wh.cat", 0o644, b"");
    let mut link = tar::Header::new_ustar();
    link.set_mode(0o777);
    link.set_size(0);
    link.set_entry_type(tar::EntryType::Symlink);
    archive
        .append_link(&mut link, "etc/app.link", "app.conf")
        .unwrap();
    link.set_entry_type(tar::EntryType::Link);
    archive
        .append_link(&mut link, "etc/app.same", "etc/app.conf")
        .unwrap();
    let mut state = 1_u64;
    let noise = (0..ballast / 8).flat_map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()
    });
    let noise: Vec<u8> = noise.collect();
    for (at, part) in noise.chunks(10 << 20).enumerate() {
        add(&mut archive, &format!("data/part{at}"), 0o644, part);
    }
    archive.into_inner().unwrap()
}
