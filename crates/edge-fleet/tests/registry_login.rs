//! Login of the registry with a device identity, at the local cloud's credentials provider
//! and API of ECR.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use edge_common::contract::path::FLEET;
use edge_common::file;
use edge_fleet::registry_login::{Cause, Login, LoginError, Logins};
use edge_sim::cloud::services::{ServiceFault, Services};
use edge_sim::testbed::{Cloud, DeviceRoot};
use serde_json::{Value, json};

/// Provisioned device, and services of its cloud with faults of their own.
struct Site {
    device: DeviceRoot,
    services: Services,
    cloud: Cloud,
    set: String,
}

impl Site {
    fn new() -> Self {
        let cloud = Cloud::up();
        let device = DeviceRoot::allowed(&cloud, "s1");
        device.provisioned(&[]);
        let services = Services::start(cloud.path(), &[]).unwrap();
        let digest = "0".repeat(64);
        let registry = cloud.value("registry");
        let site = Self {
            set: format!("{registry}@sha256:{digest}"),
            device,
            services,
            cloud,
        };
        site.configure(&site.config());
        site
    }

    fn config(&self) -> Value {
        json!({
            "credentials_endpoint": format!("localhost:{}", self.services.credentials_port()),
            "ecr_endpoint": format!("localhost:{}", self.services.ecr_port()),
            "region": self.cloud.value("region"),
            "role_alias": self.cloud.value("role_alias"),
        })
    }

    fn configure(&self, config: &Value) {
        let path = self.device.root.path(FLEET);
        file::write(&path, config.to_string().as_bytes(), 0o644).unwrap();
    }

    fn logins(&self) -> Logins {
        Logins::new(&self.device.root)
    }

    fn play(&self, faults: &[&str]) {
        let faults = faults.iter().map(|fault| fault.parse().unwrap());
        self.services.play(&faults.collect::<Vec<ServiceFault>>());
    }

    /// Returns the requests of one call after the earlier ones, as `SERVICE STATUS`.
    fn requests(&self, before: usize) -> Vec<String> {
        let requests = self.services.requests().into_iter().skip(before);
        requests
            .map(|r| format!("{} {}", r.service, r.status))
            .collect()
    }
}

const ONCE: Duration = Duration::ZERO;

fn once<'a>(logins: &'a mut Logins, site: &Site) -> Result<&'a Login, LoginError> {
    logins.of_set(&site.set, ONCE).map(Option::unwrap)
}

fn failure(logins: &mut Logins, site: &Site) -> (Cause, String) {
    match once(logins, site) {
        Ok(_) => panic!("there is a login"),
        Err(error) => (error.cause, error.to_string()),
    }
}

#[test]
fn an_identity_becomes_a_login_that_is_kept() {
    let site = Site::new();
    let mut logins = site.logins();
    let login = once(&mut logins, &site).unwrap();
    assert_eq!(login.username, "AWS");
    assert_eq!(login.password.expose(), site.cloud.password());
    assert_eq!(login.registry, site.cloud.value("registry_host"));
    let now = edge_common::known_time::clock();
    // The keys' hour ends before the password's twelve.
    assert!(
        (now + 3000..now + 3600).contains(&login.expires),
        "{}",
        login.expires
    );
    assert_eq!(site.requests(0), ["credentials 200", "ecr 200"]);
    once(&mut logins, &site).unwrap();
    assert_eq!(site.requests(2).len(), 0);
    logins.forget();
    once(&mut logins, &site).unwrap();
    assert_eq!(site.requests(2), ["credentials 200", "ecr 200"]);
    assert_eq!(secrets_below(&site), Vec::<String>::new());
}

/// Returns the files of the device that contain the password.
fn secrets_below(site: &Site) -> Vec<String> {
    let output = std::process::Command::new("grep")
        .args(["-rlF", "--", &site.cloud.password()])
        .arg(site.device.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(String::from).collect()
}

#[test]
fn credentials_are_renewed_before_their_end() {
    let site = Site::new();
    let mut logins = site.logins();
    site.play(&["credentials:life=290*1"]);
    let expires = once(&mut logins, &site).unwrap().expires;
    assert!(expires <= edge_common::known_time::clock());
    let before = site.requests(0).len();
    once(&mut logins, &site).unwrap();
    assert_eq!(site.requests(before), ["credentials 200", "ecr 200"]);
    // Keys that are revoked before their end are replaced at once.
    let mut logins = site.logins();
    once(&mut logins, &site).unwrap();
    let before = site.requests(0).len();
    site.play(&["ecr:error=400/ExpiredTokenException*1"]);
    let (cause, error) = failure(&mut site.logins(), &site);
    assert!(
        cause == Cause::Refused && error.contains("ExpiredToken"),
        "{error}"
    );
    assert_eq!(site.requests(before), ["credentials 200", "ecr 400"]);
}

#[test]
fn an_overloaded_service_is_asked_again_with_a_pause() {
    let site = Site::new();
    site.play(&[
        "credentials:error=429/ThrottlingException*1",
        "ecr:error=400/ThrottlingException*1",
    ]);
    let begin = Instant::now();
    let mut logins = site.logins();
    let login = logins.of_set(&site.set, Duration::from_secs(120)).unwrap();
    assert_eq!(login.unwrap().password.expose(), site.cloud.password());
    assert!(
        begin.elapsed() >= Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    let seen = site.requests(0);
    assert_eq!(seen[..2], ["credentials 429", "credentials 200"]);
    assert_eq!(seen[2..], ["ecr 400", "credentials 200", "ecr 200"]);
}

#[test]
fn services_that_do_not_answer_are_unavailable() {
    let site = Site::new();
    for service in ["credentials", "ecr"] {
        for (fault, cause, message) in [
            ("dropped", Cause::Unavailable, "closed the connection"),
            ("truncated", Cause::Unavailable, "closed the connection"),
            ("oversized", Cause::Unavailable, "larger than"),
            ("endless", Cause::Unavailable, "too many headers"),
            ("malformed", Cause::Unavailable, "answer"),
            ("incomplete", Cause::Unavailable, "answer"),
            ("error=500", Cause::Unavailable, "status 500"),
            (
                "error=503/ServiceUnavailable",
                Cause::Unavailable,
                "status 503",
            ),
            ("redirect", Cause::Refused, "status 302"),
            (
                "error=403/AccessDeniedException",
                Cause::Refused,
                "status 403",
            ),
        ] {
            site.play(&[&format!("{service}:{fault}*1")]);
            let (seen, error) = failure(&mut site.logins(), &site);
            assert_eq!(seen, cause, "{service} {fault}: {error}");
            assert!(error.contains(message), "{service} {fault}: {error}");
        }
    }
    site.play(&["credentials:life=0*1"]);
    let (cause, error) = failure(&mut site.logins(), &site);
    assert!(
        cause == Cause::Unavailable && error.contains("have ended; the server's time is"),
        "{error}"
    );
    site.play(&["ecr:ahead=600*1"]);
    let (cause, error) = failure(&mut site.logins(), &site);
    assert!(
        cause == Cause::Refused && error.contains("is the clock right?"),
        "{error}"
    );
    assert!(!error.contains("IQoJ"), "{error}");
    once(&mut site.logins(), &site).unwrap();
}

#[test]
fn a_slow_service_ends_at_the_deadline() {
    let site = Site::new();
    site.play(&["credentials:slow=500*1"]);
    let begin = Instant::now();
    let (cause, error) = failure(&mut site.logins(), &site);
    assert_eq!(cause, Cause::Unavailable, "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(15 + 8),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_device_that_is_refused_says_why() {
    let site = Site::new();
    let mut other = site.config();
    other["role_alias"] = json!("admin");
    site.configure(&other);
    let (cause, error) = failure(&mut site.logins(), &site);
    assert!(
        cause == Cause::Refused && error.contains("status 403: Access Denied"),
        "{error}"
    );
    site.configure(&site.config());

    let foreign = site.set.replace(":", ".x:");
    let error = site.logins().of_set(&foreign, ONCE).err().unwrap();
    assert!(
        matches!(error.cause, Cause::Refused | Cause::Unusable),
        "{error}"
    );
    let elsewhere = format!("other.example/apps@sha256:{}", "0".repeat(64));
    let error = site.logins().of_set(&elsewhere, ONCE).err().unwrap();
    assert!(error.to_string().contains("issues passwords of"), "{error}");

    edge_sim::cloud::deactivate(site.cloud.path(), "s1").unwrap();
    let (cause, error) = failure(&mut site.logins(), &site);
    assert!(
        cause == Cause::Refused && error.contains("Certificate is invalid"),
        "{error}"
    );
}

#[test]
fn files_that_are_absent_or_invalid_are_named() {
    let site = Site::new();
    let root = &site.device.root;
    for (path, text) in [
        (FLEET, "{}"),
        ("/data/config/aws-iot/config.json", "{"),
        ("/data/config/aws-iot/private.key", "no key"),
        ("/etc/edge-ai/ca/root.pem", "no certificate"),
    ] {
        let kept = file::read(&root.path(path), 100_000).unwrap();
        file::write(&root.path(path), text.as_bytes(), 0o600).unwrap();
        let (cause, error) = failure(&mut site.logins(), &site);
        assert_eq!(cause, Cause::Unusable, "{path}: {error}");
        let name = path.rsplit('/').next().unwrap();
        assert!(
            error.contains(name) || error.contains("/ca"),
            "{path}: {error}"
        );
        file::write(&root.path(path), &kept, 0o600).unwrap();
    }
    assert_eq!(site.requests(0).len(), 0);
    file::remove(&root.path(FLEET)).unwrap();
    assert!(site.logins().of_set(&site.set, ONCE).unwrap().is_none());
}
