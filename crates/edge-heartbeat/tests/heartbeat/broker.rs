//! Broker of the local cloud, which can be stopped and started.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use edge_sim::testbed::{Cloud, program};
use serde_json::Value;

use crate::until;

/// Broker and responder of a local cloud, as children that can be killed.
pub struct Broker<'a> {
    pub cloud: &'a Cloud,
    pub children: Vec<Child>,
}

impl<'a> Broker<'a> {
    /// Replaces the processes that `cloud up` started.
    pub fn replace(cloud: &'a Cloud) -> Self {
        let pids = fs::read(cloud.file("pids.json")).unwrap();
        let pids: Vec<Value> = serde_json::from_slice(&pids).unwrap();
        for pid in pids {
            let pid = pid["pid"].to_string();
            // The responder ends by itself without its broker, which may be killed before.
            let _ = Command::new("/bin/kill").args(["-KILL", &pid]).status();
            until("the process ended", || {
                !Path::new("/proc").join(&pid).join("exe").exists()
            });
        }
        let mut broker = Self {
            cloud,
            children: Vec::new(),
        };
        broker.start();
        broker
    }

    pub fn start(&mut self) {
        let mut mosquitto = Command::new("/usr/sbin/mosquitto");
        mosquitto.arg("-c").arg(self.cloud.file("mosquitto.conf"));
        let mut responder = Command::new(program("edge-sim"));
        responder
            .args(["cloud", "serve", "--dir"])
            .arg(self.cloud.path());
        let proxy = self.cloud.value("proxy");
        let proxy = proxy.rsplit_once(':').unwrap().1.to_string();
        for (mut command, port) in [
            (mosquitto, self.cloud.value("iot_port")),
            (responder, proxy),
        ] {
            let log = fs::File::options()
                .create(true)
                .append(true)
                .open(self.cloud.file("week.log"))
                .unwrap();
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log);
            self.children.push(command.spawn().unwrap());
            let port: u16 = port.parse().unwrap();
            until("a daemon listens", || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
    }

    pub fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
