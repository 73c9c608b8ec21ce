//! Judgement of an app before it reaches a device: what the policy would refuse, and
//! what somebody should know about its image.

use edge_docker_policy::decide::decide;
use edge_docker_policy::grants::Table;
use edge_docker_policy::identity::Identity;
use edge_docker_policy::run_spec::{DeviceNames, RunSpec};
use edge_signature::Digest;

use crate::spec::Spec;

/// Digest and key of mount clones in place of those that a device would have.
const SAMPLE_HEX: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Setter of one key in a run specification, from the whole.
type Part = fn(&RunSpec, &mut RunSpec);
/// Keys whose values need a grant or a capability, each judged alone, so that a refusal
/// names its key.
const PERMISSIONS: [(&str, Part); 4] = [
    ("grants", |from, to| to.grants.clone_from(&from.grants)),
    ("cap_add", |from, to| to.cap_add.clone_from(&from.cap_add)),
    ("cap_drop", |from, to| {
        to.cap_drop.clone_from(&from.cap_drop)
    }),
    ("sysctls", |from, to| to.sysctls.clone_from(&from.sysctls)),
];

/// Directories in which well-known images keep their state, by the last part of the
/// image's name.
const STATE: [(&str, &str); 20] = [
    ("couchdb", "/opt/couchdb/data"),
    ("elasticsearch", "/usr/share/elasticsearch/data"),
    ("eclipse-mosquitto", "/mosquitto/data"),
    ("frigate", "/config"),
    ("gitea", "/data"),
    ("grafana", "/var/lib/grafana"),
    ("home-assistant", "/config"),
    ("influxdb", "/var/lib/influxdb"),
    ("mariadb", "/var/lib/mysql"),
    ("minio", "/data"),
    ("mongo", "/data/db"),
    ("mysql", "/var/lib/mysql"),
    ("nextcloud", "/var/www/html"),
    ("node-red", "/data"),
    ("postgres", "/var/lib/postgresql/data"),
    ("prometheus", "/prometheus"),
    ("rabbitmq", "/var/lib/rabbitmq"),
    ("redis", "/data"),
    ("timescaledb", "/var/lib/postgresql/data"),
    ("valkey", "/data"),
];

/// Properties of a container image that matter for its app.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Image {
    /// User of its processes; empty is root.
    pub user: String,
    /// Directories that `VOLUME` declares.
    pub volumes: Vec<String>,
    /// Image that the last stage of the Dockerfile begins with; empty if not known.
    pub base: String,
}

impl Image {
    /// Reads the last stage of a Dockerfile. Its base image may declare more.
    pub fn from_dockerfile(text: &str) -> Self {
        let mut image = Self::default();
        let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
        for line in joined.lines().map(str::trim) {
            let Some((instruction, rest)) = line.split_once(char::is_whitespace) else {
                continue;
            };
            match instruction.to_ascii_uppercase().as_str() {
                "FROM" => {
                    let base = rest.split_whitespace().find(|w| !w.starts_with("--"));
                    image = Self {
                        base: base.unwrap_or_default().into(),
                        ..Self::default()
                    };
                }
                "USER" => image.user = rest.trim().into(),
                "VOLUME" => {
                    let plain = rest.replace(['[', ']', '"', ','], " ");
                    let paths = plain.split_whitespace().map(String::from);
                    image.volumes.extend(paths);
                }
                _ => {}
            }
        }
        image
    }

    /// Returns the directory in which the base image keeps its state.
    fn state(&self) -> Option<&'static str> {
        let name = self.base.split(['@', '$']).next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default();
        let found = STATE.iter().find(|(image, _)| *image == name);
        found.map(|(_, directory)| *directory)
    }
}

impl Spec {
    /// Returns what a device with the grants `table` would refuse, each line beginning
    /// with the file and, where known, line and column.
    pub fn refusals(&self, table: &Table) -> Vec<String> {
        let whole = self.run_spec();
        let mut refusals: Vec<_> = PERMISSIONS
            .iter()
            .filter_map(|(key, part)| {
                let mut alone = RunSpec::new(&whole.app);
                part(&whole, &mut alone);
                // What a capability or a kernel parameter needs is in the grants, which
                // are judged by themselves.
                let error = self.judge(&alone, table).err()?;
                Some(self.message_at(key, &error.to_string()))
            })
            .collect();
        if refusals.is_empty()
            && let Err(error) = self.judge(&whole, table)
        {
            refusals.push(self.message_at("name", &error.to_string()));
        }
        refusals
    }

    fn judge(&self, run: &RunSpec, table: &Table) -> anyhow::Result<()> {
        let identity = Identity::Signed {
            app: self.name().into(),
            version: "v1".into(),
            grants: self.grants(),
            root: self.run_spec().root,
            digest: sample_digest()?,
        };
        let names = DeviceNames {
            thing: Some("edge-ai-0123456789".into()),
            serial: Some("0123456789".into()),
        };
        let request = run.request("image", &identity.directory(), &names)?;
        let granted = table.granted(&identity);
        let image_id = format!("sha256:{SAMPLE_HEX}");
        decide(request, &identity, &granted, &image_id, &SAMPLE_HEX[..32]).map(drop)
    }

    /// Returns what somebody should know about running this app from `image`.
    pub fn image_warnings(&self, image: &Image) -> Vec<String> {
        let run = self.run_spec();
        let mut warnings = Vec::new();
        let user = if run.user.is_empty() {
            &image.user
        } else {
            &run.user
        };
        if ["", "0", "root"].contains(&user.split(':').next().unwrap_or_default()) {
            let text = "the app runs as root in its container: write USER in the Dockerfile, or \
                        `user` here";
            warnings.push(self.message_at("user", text));
        }
        let mounted: Vec<_> = run.volumes.iter().map(|v| v.target.as_str()).collect();
        let mounted: Vec<_> = mounted
            .into_iter()
            .chain(run.tmpfs.keys().map(String::as_str))
            .collect();
        let kept = |path: &str| mounted.iter().any(|m| is_below(path, m));
        for path in image.volumes.iter().filter(|path| !kept(path)) {
            let text = format!(
                "the image keeps state in {path} (VOLUME), which the next version does not get: \
                 write `volumes: [\"NAME:{path}\"]`"
            );
            warnings.push(self.message_at("volumes", &text));
        }
        let known = image.state().filter(|path| !kept(path));
        if let Some(path) = known.filter(|path| !image.volumes.iter().any(|v| v == path)) {
            let text = format!(
                "{} keeps its state in {path}, which is lost with the container: write `volumes: \
                 [\"NAME:{path}\"]`",
                image.base
            );
            warnings.push(self.message_at("volumes", &text));
        }
        warnings
    }
}

fn sample_digest() -> anyhow::Result<Digest> {
    format!("sha256:{SAMPLE_HEX}")
        .parse()
        .map_err(|_| anyhow::anyhow!("the sample is not a digest"))
}

/// Returns whether `path` is the directory `mounted` or below it.
fn is_below(path: &str, mounted: &str) -> bool {
    let rest = path.strip_prefix(mounted.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/devices.json"
    ));

    fn spec(text: &str) -> Spec {
        let text = format!("name: a\n{text}\n");
        Spec::parse(&text, "app.yaml", &|_| Ok(None)).unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn refusals_of_a_device_name_the_key() {
        let table = Table::parse(TABLE).unwrap();
        let refusals = |text: &str| spec(text).refusals(&table).join("\n");
        for text in [
            "",
            "grants: [gpu, 'i2c:7']",
            "grants: [vpn]\ncap_add: [NET_ADMIN]",
        ] {
            assert_eq!(refusals(text), "", "{text}");
        }
        for (text, expected) in [
            ("grants: [colour]", "app.yaml:2:1: "),
            ("grants: [i2c]", "this board does not know: i2c"),
            (
                "ports: ['1:1']\ncap_add: [SYS_ADMIN]",
                "app.yaml:3:1: --cap-add SYS_ADMIN",
            ),
            ("sysctls: {net.core.somaxconn: 1}", "app.yaml:2:1: --sysctl"),
        ] {
            assert!(
                refusals(text).contains(expected),
                "{text}: {}",
                refusals(text)
            );
        }
    }

    #[test]
    fn state_outside_of_mounts() {
        let postgres = Image::from_dockerfile("FROM docker.io/library/postgres:17\n");
        assert_eq!(postgres.base, "docker.io/library/postgres:17");
        let warnings = |text: &str, image: &Image| spec(text).image_warnings(image).join("\n");
        let found = warnings("user: 999", &postgres);
        assert!(found.contains("/var/lib/postgresql/data"), "{found}");
        let kept = "user: 999\nvolumes: ['db:/var/lib/postgresql/data']";
        assert_eq!(warnings(kept, &postgres), "");
        assert_eq!(
            warnings("user: 999\ntmpfs: /var/lib/postgresql", &postgres),
            ""
        );
        let own = "FROM rust AS build\nUSER root\nVOLUME /x\nFROM --platform=arm64 debian\n\
                   volume [\"/a\", \\\n \"/b\"]\nUSER app\n";
        let own = Image::from_dockerfile(own);
        assert_eq!(
            (&own.volumes[..], &*own.user),
            (&["/a".into(), "/b".into()][..], "app")
        );
        let found = warnings("volumes: ['.:/a']", &own);
        assert!(
            found.contains("/b (VOLUME)") && !found.contains("/a "),
            "{found}"
        );
        let found = warnings("user: '0:10'", &own);
        assert!(
            found.starts_with("app.yaml:2:1: the app runs as root"),
            "{found}"
        );
        for text in [
            "", "FROM", "FROM ", "FROM --x", "VOLUME", "USER", "\0", "FROM \\",
        ] {
            Image::from_dockerfile(text);
        }
    }
}
