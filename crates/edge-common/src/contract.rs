//! Names, numbers and paths on which more than one tool relies.
//!
//! A value is here when a second program reads it: labels of containers, signed
//! annotations, exit codes that a caller tells apart, phases of a deployment, paths
//! below `/data` and `/etc/edge-ai` with a writer and a reader, and the size limit
//! that both apply. `docs/filesystem.md` lists the paths for people. Changing a
//! value here breaks devices in the field, whose other slot, stored containers and
//! signatures keep the old one.

/// Labels that edge-docker sets on the containers it creates.
pub mod label {
    /// Prefix of every label that an app may not set itself.
    pub const PREFIX: &str = "edge.";
    /// Name of the signed app.
    pub const APP: &str = "edge.app";
    /// Signed version of the app.
    pub const VERSION: &str = "edge.version";
    /// Digest of the verified manifest, `sha256:HEX`.
    pub const DIGEST: &str = "edge.digest";
    /// Short name of the key whose signature was verified.
    pub const SIGNER: &str = "edge.signer";
    /// Name of the unsigned sandbox app.
    pub const SANDBOX: &str = "edge.sandbox";
    /// Image reference as it was typed.
    pub const IMAGE: &str = "edge.image";
    /// Key of the container's mount clones.
    pub const MOUNTS: &str = "edge.pins";
}

/// Annotations in the payload of a signature.
pub mod annotation {
    /// Name of the app.
    pub const APP: &str = "edge.app";
    /// Version of the app.
    pub const VERSION: &str = "edge.version";
    /// Release number, a decimal integer.
    pub const RELEASE_NUMBER: &str = "edge.serial";
    /// Comma-separated names of the grants.
    pub const GRANTS: &str = "edge.grants";
    /// Git commit that the image was built from.
    pub const GIT: &str = "edge.git";
}

/// Exit codes of edge-docker that a caller tells apart; the others are docker's.
pub mod exit_code {
    /// `replace`: the new version failed, and so did the rollback.
    pub const ROLLBACK_FAILED: u8 = 122;
    /// `replace`: the new version failed and was rolled back.
    pub const ROLLED_BACK: u8 = 123;
    /// The signature cannot be verified now, because the registry does not answer.
    pub const UNVERIFIABLE: u8 = 124;
    /// Refused by the policy, or an error of the engine, as in docker's `run`.
    pub const REFUSED: u8 = 125;
}

/// Names of containers that only a deployment gives.
pub mod suffix {
    /// Container before the current one, stopped.
    pub const PREVIOUS: &str = "-previous";
    /// Container before the previous one, while a deployment is open.
    pub const OLDER: &str = "-older";
    /// New container, while a deployment is open.
    pub const NEXT: &str = "-next";
    /// Container that gives up its name, while a deployment is open.
    pub const MOVING: &str = "-moving";
    /// All of them: no app's name may end in one.
    pub const RESERVED: [&str; 4] = [PREVIOUS, OLDER, NEXT, MOVING];
}

/// Phases of a deployment, as `edge-docker replace --status` prints them.
pub mod phase {
    /// The new container is being tried; after a power loss the old one comes back.
    pub const TRIAL: &str = "trial";
    /// The new container works; what is left is removing the old one.
    pub const KEEP: &str = "keep";
    /// Ended: the new container runs.
    pub const SWITCHED: &str = "switched";
    /// Ended: the new container failed, the old one runs again.
    pub const BACK: &str = "back";
    /// Ended: the new container failed, and there was none before it.
    pub const DOWN: &str = "down";
}

/// Paths with a writer and a reader in different programs.
pub mod path {
    /// Trust anchors in the read-only root: keys, repository and policy.
    pub const CONTAINER_CONFIG: &str = "/etc/edge-ai/container-config";
    /// URL of the one trusted repository.
    pub const REPOSITORY: &str = "/etc/edge-ai/container-config/ecr-url.txt";
    /// Policy of the image: sandbox images, SSH.
    pub const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
    /// CA bundle for servers, one or more `*.pem`.
    pub const CA: &str = "/etc/edge-ai/ca";
    /// Identity of the device, as edge-provision commits it.
    pub const IDENTITY: &str = "/data/config/aws-iot";
    /// `desired.vpn` of the shadow, written by edge-heartbeat, read by edge-vpn.
    pub const VPN_DESIRED: &str = "/data/config/vpn/desired.json";
    /// Units that the generator links.
    pub const SERVICES: &str = "/data/services";
    /// Data of signed apps, a directory each.
    pub const APPS: &str = "/data/apps";
    /// Data of sandbox apps, a directory each.
    pub const SANDBOX: &str = "/data/sandbox";
    /// Time of provisioning, RFC 3339; its presence skips edge-bootstrap.
    pub const PROVISIONED: &str = "/data/.provisioned";
    /// Host name in NordVPN Meshnet.
    pub const NORDVPN_HOSTNAME: &str = "/data/config/nordvpn/meshnet-hostname";
    /// Host name in the WireGuard network.
    pub const WIREGUARD_HOSTNAME: &str = "/data/config/wireguard/hostname";
    /// Address in the WireGuard network.
    pub const WIREGUARD_ADDRESS: &str = "/data/config/wireguard/address";
    /// Public key of the device in the WireGuard network.
    pub const WIREGUARD_PUBLIC_KEY: &str = "/data/config/wireguard/public.key";
    /// Program that starts containers; units of `/data/services` may start no other.
    pub const EDGE_DOCKER: &str = "/usr/bin/edge-docker";
    /// Socket of the container engine.
    pub const ENGINE_SOCKET: &str = "/run/docker.sock";
}

/// Size limits, in bytes, that a writer and a reader share.
pub mod limit {
    /// `/data/config/vpn/desired.json`. The shadow repeats it in desired and reported
    /// state, and holds 8 kB in all.
    pub const VPN_DESIRED_BYTES: u64 = 2048;
    /// A file that `edge-app sandbox` sends to `edge-docker sync`.
    pub const SYNC_FILE_BYTES: u64 = 1 << 30;
    /// A trust anchor: key, repository, policy.
    pub const ANCHOR_BYTES: u64 = 64 * 1024;
}
