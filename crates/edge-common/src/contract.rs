//! Names, numbers and paths on which more than one program relies.
//!
//! This module contains a value if a second program reads it: labels of containers,
//! signed annotations, exit codes that callers distinguish, phases of a deployment,
//! paths below `/data` and `/etc/edge-ai` with a writer and a reader, and size limits
//! that both sides apply. `docs/filesystem.md` lists the paths for people. Changing a
//! value breaks devices in the field: their other A/B slot, their stored containers and
//! their signatures keep the old value.

/// Labels that edge-docker sets on the containers that it creates: all of them on each
/// container, and empty where one does not apply, so that a label of the container image
/// with the same name has no effect.
pub mod label {
    /// Prefix of reserved labels: a `--label` with this prefix is refused.
    pub const PREFIX: &str = "edge.";
    /// App that the container runs, as named by the verified signature.
    pub const APP: &str = "edge.app";
    /// Version of the app from the verified signature.
    pub const VERSION: &str = "edge.version";
    /// Digest of the container image's verified manifest, `sha256:HEX`.
    pub const DIGEST: &str = "edge.digest";
    /// Name of the public key that verified the signature.
    pub const SIGNER: &str = "edge.signer";
    /// App that the container runs, if its container image is an unsigned sandbox
    /// image.
    pub const SANDBOX: &str = "edge.sandbox";
    /// Reference of the container image as the caller typed it.
    pub const IMAGE: &str = "edge.image";
    /// Digest of the signed run specification that the container was created from,
    /// `sha256:HEX`.
    pub const RUN: &str = "edge.run";
    /// Key under which edge-docker keeps the mount clones of the container.
    pub const MOUNTS: &str = "edge.pins";
    /// ID of the break-glass ticket under which the container was created. The container
    /// is removed when the ticket ends. Absent on all others.
    pub const TICKET: &str = "edge.ticket";
    /// All labels above, except `TICKET`, which containers of earlier versions do not have.
    pub const ALL: [&str; 8] = [APP, VERSION, DIGEST, SIGNER, SANDBOX, IMAGE, RUN, MOUNTS];
}

/// Keys of the annotations in the signed payload of a container image's signature.
pub mod annotation {
    /// Name of the app for which the container image is signed.
    pub const APP: &str = "edge.app";
    /// Version of the app as text, for people.
    pub const VERSION: &str = "edge.version";
    /// Release number as a decimal integer. By default a device refuses a lower number
    /// than it has already accepted.
    pub const RELEASE_NUMBER: &str = "edge.serial";
    /// Permissions that the signer grants to the app, comma-separated.
    pub const GRANTS: &str = "edge.grants";
    /// Git commit from which the container image was built.
    pub const GIT: &str = "edge.git";
    /// Digest of the app's run specification, `sha256:HEX`. Absent in signatures of
    /// versions that were pushed before there were run specifications.
    pub const RUN: &str = "edge.run";
    /// Name of the release set, in the signature of a set instead of `APP`.
    pub const SET: &str = "edge.set";
}

/// Release sets: the apps that a group of devices should run.
pub mod set {
    /// Version of the format, the value of the key `edge`.
    pub const FORMAT: u32 = 1;
    /// Maximum number of apps in a set.
    pub const MAX_APPS: usize = 64;
    /// Maximum number of patterns of thing names.
    pub const MAX_PATTERNS: usize = 1024;
    /// Maximum number of revoked digests, and of restored ones.
    pub const MAX_DIGESTS: usize = 1024;
    /// Size limit of the name of a set, in bytes: the ID of a job, `edge-SET-NUMBER-STAGE`,
    /// has at most 64 characters.
    pub const MAX_NAME_BYTES: usize = 32;
    /// Size limit of a thing name, in bytes.
    pub const MAX_THING_BYTES: usize = 128;
    /// Limit of the times of a set that are in seconds.
    pub const MAX_SECONDS: u32 = 3600;

    /// Returns the tag of a set in the repository.
    pub fn tag(name: &str, number: u64) -> String {
        format!("set.{name}.{number}")
    }
}

/// Exit codes of edge-docker that callers distinguish. All others are those of docker.
pub mod exit_code {
    /// Every device tool: an unprivileged user may not read what the command needs; the
    /// value is `EX_NOPERM` of sysexits(3).
    pub const NEEDS_ROOT: u8 = 77;
    /// `replace`: the new version failed, and so did the rollback.
    pub const ROLLBACK_FAILED: u8 = 122;
    /// `replace`: the new version failed and was rolled back.
    pub const ROLLED_BACK: u8 = 123;
    /// The signature cannot be verified now, because the registry does not answer.
    pub const UNVERIFIABLE: u8 = 124;
    /// The policy refused the request, or the engine failed; the same code as of
    /// `docker run`.
    pub const REFUSED: u8 = 125;
}

/// Suffixes of container names that are reserved for deployments (`edge-docker
/// replace`).
pub mod suffix {
    /// Stopped container of the previous version, kept for a rollback.
    pub const PREVIOUS: &str = "-previous";
    /// Container of the version before the previous one, until the deployment ends.
    pub const OLDER: &str = "-older";
    /// Container of the new version until it is put on trial.
    pub const NEXT: &str = "-next";
    /// Container that is being renamed because another container needs its name.
    pub const MOVING: &str = "-moving";
    /// All suffixes of this module. No app name may end in one of them.
    pub const RESERVED: [&str; 4] = [PREVIOUS, OLDER, NEXT, MOVING];
}

/// Phases of a deployment, as `edge-docker replace --status` prints them.
pub mod phase {
    /// The new container is on trial; a power loss causes a rollback to the old one.
    pub const TRIAL: &str = "trial";
    /// The new container works; only the removal of the oldest container is left.
    pub const KEEP: &str = "keep";
    /// The deployment has ended: the new container runs.
    pub const SWITCHED: &str = "switched";
    /// The deployment has ended: the new container failed, and the old one runs again.
    pub const BACK: &str = "back";
    /// The deployment has ended: the new container failed, and no older one exists.
    pub const DOWN: &str = "down";
}

/// Results of a deployment that edge-docker prints and edge-app recognizes.
pub mod deployment {
    /// Words after `NAME VERSION`: the same version runs and works, and nothing changed.
    pub const RUNS_ALREADY: &str = "runs already";
    /// Beginning of a line of standard output that names a step.
    pub const STEP: &str = "- ";
}

/// Units of the device image that a unit of `/data/services` may pull in, by `Wants=`,
/// `Requires=` or `BindsTo=`: every boot starts them anyway. edge-generator refuses others,
/// and edge-app refuses them in `unit.wants`.
pub const MAY_NEED: [&str; 12] = [
    "data.mount",
    "docker.service",
    "docker.socket",
    "edge-bootstrap.service",
    "edge-data.service",
    "edge-heartbeat.service",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network.target",
    "sysinit.target",
    "time-sync.target",
];

/// User as whom engineers and edge-app log in.
pub mod login {
    /// Name of the user and of its group.
    pub const NAME: &str = "edge";
    /// UID and GID. No container may have it: a process of the device and one of a
    /// container with the same UID can read and change each other's files. It is in the
    /// range 60578 to 61183, which neither systemd nor Debian nor `useradd` assigns, and
    /// far from the IDs of images (1000, 1001, 65532).
    pub const ID: u32 = 61_000;
}

/// Paths with a writer and a reader in different programs.
pub mod path {
    /// Directory of the trust anchors in the read-only root: public keys, repository
    /// URL and policy.
    pub const CONTAINER_CONFIG: &str = "/etc/edge-ai/container-config";
    /// File with the URL of the only trusted repository of container images.
    pub const REPOSITORY: &str = "/etc/edge-ai/container-config/ecr-url.txt";
    /// Policy of the device image as JSON: sandbox images and SSH access.
    pub const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
    /// Configuration of the VPN in the device image: provider, container image and
    /// peers.
    pub const VPN: &str = "/etc/edge-ai/vpn.json";
    /// Endpoints, region and role alias with which a device pulls images by itself, in the
    /// device image. Absent in images that are built without a cloud.
    pub const FLEET: &str = "/etc/edge-ai/fleet.json";
    /// Directory of the CA certificates that TLS servers are verified with, one or more
    /// `*.pem` files.
    pub const CA: &str = "/etc/edge-ai/ca";
    /// Directory of the device identity: key, certificate and configuration.
    /// edge-provision writes it.
    pub const IDENTITY: &str = "/data/config/aws-iot";
    /// File in memory with the result of the last connection as the device, written by
    /// edge-heartbeat and read by edge-provision.
    pub const CONNECTION: &str = "/run/edge-ai/heartbeat/connection.json";
    /// File with the time since when the cloud refuses the device identity, written and
    /// read by edge-provision. It is kept across boots.
    pub const REFUSED: &str = "/data/config/aws-iot-refused.json";
    /// File with `desired.vpn` of the shadow, written by edge-heartbeat and read by
    /// edge-vpn.
    pub const VPN_DESIRED: &str = "/data/config/vpn/desired.json";
    /// Directory of the systemd units that start apps; edge-generator links them at
    /// every boot.
    pub const SERVICES: &str = "/data/services";
    /// Parent of the data directories of signed apps.
    pub const APPS: &str = "/data/apps";
    /// Parent of the data directories of sandbox apps.
    pub const SANDBOX: &str = "/data/sandbox";
    /// Directory that occupies bytes and inodes of the data partition, which the boot audit
    /// gives back in portions if the partition is full.
    pub const RESERVE: &str = "/data/.reserve";
    /// Marker file with the time of provisioning, RFC 3339. If it exists,
    /// edge-bootstrap.service is skipped.
    pub const PROVISIONED: &str = "/data/.provisioned";
    /// File with the host name of the device in NordVPN Meshnet.
    pub const NORDVPN_HOSTNAME: &str = "/data/config/nordvpn/meshnet-hostname";
    /// File with the host name of the device in the WireGuard network.
    pub const WIREGUARD_HOSTNAME: &str = "/data/config/wireguard/hostname";
    /// File with the IP address of the device in the WireGuard network.
    pub const WIREGUARD_ADDRESS: &str = "/data/config/wireguard/address";
    /// File with the WireGuard public key of the device, which its peers need.
    pub const WIREGUARD_PUBLIC_KEY: &str = "/data/config/wireguard/public.key";
    /// Program that starts containers, and the only one that units of `/data/services`
    /// may execute.
    pub const EDGE_DOCKER: &str = "/usr/bin/edge-docker";
    /// Directory of the ledger: the decisions of edge-docker, hash-chained.
    pub const LEDGER: &str = "/data/log/ledger";
    /// Directory of the highest release numbers accepted, one file for each app, written
    /// by edge-docker and reported by edge-heartbeat.
    // `serials` is an old word for release numbers, see
    // docs/decisions/0021-names-on-devices-stay.md.
    pub const RELEASE_NUMBERS: &str = "/data/config/edge-docker/serials";
    /// Directory of the copies of these files.
    pub const RELEASE_NUMBER_COPIES: &str = "/data/config/edge-docker/serials-copy";
    /// Directory of the release sets that this device has taken, each as its proof
    /// `HEX.json`, and of the record of their numbers and of revoked digests. Written by
    /// edge-docker.
    pub const SETS: &str = "/data/config/edge-docker/sets";
    /// Directory of the copy of that record.
    pub const SET_COPIES: &str = "/data/config/edge-docker/sets-copy";
    /// File with counter and hash of the last record of the ledger, written by
    /// edge-docker and reported by edge-heartbeat.
    pub const LEDGER_HEAD: &str = "/run/edge-ai/ledger.json";
    /// File with the break-glass ticket in effect, written by edge-docker and reported by
    /// edge-heartbeat.
    pub const BREAK_GLASS: &str = "/run/edge-ai/break-glass.json";
    /// File with the newest time of the cloud, written by edge-heartbeat and read by
    /// edge-docker.
    pub const CLOUD_TIME: &str = "/data/config/edge-heartbeat/cloud-time.json";
    /// File with the time of the device image, `YYYYMMDDhhmmss` in UTC, which the build
    /// writes.
    pub const IMAGE_TIME: &str = "/etc/timestamp";
    /// File with the results of the check of image layers in this boot, written by
    /// edge-docker and reported by edge-heartbeat.
    pub const LAYERS_CHECKED: &str = "/run/edge-ai/layers.json";
    /// Directory of NetworkManager's connections on the data partition, in which edge-docker
    /// writes those of the device's settings.
    pub const NETWORK_CONNECTIONS: &str = "/data/config/NetworkManager";
    /// File with the proxy of the device's network settings, written by edge-docker and read
    /// by edge-provision and edge-heartbeat. Absent without one: the image's counts.
    pub const NETWORK_PROXY: &str = "/run/edge-ai/network/proxy.json";
    /// File with the time servers of the device's network settings, written by edge-docker
    /// and read by chrony.
    pub const NTP_SOURCES: &str = "/run/edge-ai/network/edge.sources";
    /// File with the reasons why units of `/data/services` are not used, written by
    /// edge-generator beside its links and read by edge-docker.
    pub const UNIT_REFUSALS: &str = "/run/systemd/generator/edge-refusals.json";
    /// Description of the OS image, which the build writes and edge-os reads.
    pub const OS_IMAGE: &str = "/etc/edge-ai/os.json";
    /// Directory of the state of OS updates, written by edge-os.
    pub const OS_DIRECTORY: &str = "/data/os";
    /// Journal of OS updates, written by edge-os and read by edge-heartbeat.
    pub const OS_STATE: &str = "/data/os/state.json";
    /// File with the highest release number of an OS that was committed.
    pub const OS_FLOOR: &str = "/data/os/floor.json";
    /// Copy of this file.
    pub const OS_FLOOR_COPY: &str = "/data/os/floor-copy.json";
    /// Directory of what RAUC keeps about the slots: hashes of their blocks.
    pub const OS_RAUC_DATA: &str = "/data/os/rauc";
    /// Certificates of the OS keys, which edge-os writes for RAUC.
    pub const OS_KEYRING: &str = "/run/edge-os/keyring.pem";
    /// File with the state of the fleet loop, written by edge-fleet; edge-heartbeat reports
    /// it to the shadow `fleet` as it is.
    pub const FLEET_REPORT: &str = "/data/config/edge-fleet/report.json";
    /// File with the pending executions of jobs and their documents, written by
    /// edge-heartbeat and read by edge-fleet.
    pub const FLEET_JOBS: &str = "/data/config/edge-fleet/in/jobs.json";
    /// File with the results of executions, written by edge-fleet and reported by
    /// edge-heartbeat.
    pub const FLEET_RESULTS: &str = "/data/config/edge-fleet/results.json";
    /// File with the apps that a person changed by hand, written by edge-docker and read by
    /// edge-fleet.
    pub const FLEET_HOLDS: &str = "/data/config/edge-fleet/holds.json";
    /// File with the digest of a kept release set that an engineer demands, written by
    /// edge-docker; edge-fleet removes it when it has taken it up.
    pub const FLEET_REQUEST: &str = "/data/config/edge-fleet/request.json";
    /// File with the release set that stands on this device, written by edge-fleet.
    pub const FLEET_STANDING: &str = "/data/config/edge-fleet/standing.json";
    /// File with the samples of the last days, written and sent by edge-heartbeat.
    pub const SAMPLES: &str = "/data/log/edge-heartbeat/samples";
    /// Unix socket with the HTTP API of the container engine.
    pub const ENGINE_SOCKET: &str = "/run/docker.sock";
}

/// Size limits in bytes that both the writer and the reader of a file apply.
pub mod limit {
    /// Size limit of `/data/config/vpn/desired.json`. The shadow document contains this
    /// object in its desired and in its reported state, and AWS limits the document to
    /// 8 KiB.
    pub const VPN_DESIRED_BYTES: u64 = 2048;
    /// Size limit of a file that `edge-app sandbox` sends to `edge-docker sync`.
    pub const SYNC_FILE_BYTES: u64 = 1 << 30;
    /// Size limit of a run specification, in its canonical JSON.
    pub const RUN_SPEC_BYTES: u64 = 64 * 1024;
    /// Size limit of the document of a release set, in its canonical JSON.
    pub const SET_BYTES: u64 = 256 * 1024;
    /// Size limit of a break-glass ticket, in its canonical JSON.
    pub const BREAK_GLASS_BYTES: u64 = 2048;
    /// Size limit of the file with the reasons why units are not used.
    pub const UNIT_REFUSALS_BYTES: u64 = 512 * 1024;
    /// Size limit of the report of edge-fleet, which has to fit into a shadow of 8 kB.
    pub const FLEET_REPORT_BYTES: u64 = 7000;
    /// Size limit of the files with executions of jobs and with their results.
    pub const FLEET_FILE_BYTES: u64 = 512 * 1024;
    /// Size limit of a trust anchor: public key, repository URL or policy.
    pub const ANCHOR_BYTES: u64 = 64 * 1024;
}
