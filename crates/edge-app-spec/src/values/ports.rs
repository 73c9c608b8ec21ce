//! `ports` and `expose` of `app.yaml`.

use std::net::IpAddr;

use super::scalar::{accepted, option};
use crate::fields::Fields;
use crate::keys::PORT;
use crate::yaml::{Node, Place, Problem, Value};

/// Ports of the device that its own services use, and the service.
const DEVICE_PORTS: [(u16, &str); 1] = [(22, "SSH, by which the device is reached")];

/// Published port or range of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) place: Place,
    /// Address on the device; empty for all.
    address: String,
    /// First and last port on the device.
    host: (u16, u16),
    /// Port or range in the container, as written.
    container: String,
    protocol: String,
}

/// Reads the list `ports`.
pub(crate) fn ports(node: &Node) -> Result<Vec<Port>, Problem> {
    let mut ports: Vec<Port> = Vec::new();
    for entry in node.one_or_more()? {
        let port = match &entry.value {
            Value::Map(_) => long(entry)?,
            _ => short(entry, entry.text()?)?,
        };
        if let Some(other) = ports.iter().find(|other| other.meets(&port)) {
            return Err(entry.problem(format_args!(
                "port {} of the device is published on line {} already",
                port.shared(other),
                other.place.line
            )));
        }
        ports.push(port);
    }
    Ok(ports)
}

/// Reads `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`.
fn short(node: &Node, text: &str) -> Result<Port, Problem> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let Some((host, container)) = ports.rsplit_once(':') else {
        // An error of the device's parser is the better one for what is no port at all.
        accepted(node, "publish", text)?;
        return Err(lone(node, ports, protocol));
    };
    let (address, host) = host.rsplit_once(':').unwrap_or(("", host));
    let address = address.strip_prefix('[').unwrap_or(address);
    let address = address.strip_suffix(']').unwrap_or(address);
    if host.is_empty() {
        return Err(lone(node, container, protocol));
    }
    build(node, text, address, host, container, protocol)
}

/// Reads the long form: `target`, `published`, `host_ip`, `protocol` and `mode`.
fn long(node: &Node) -> Result<Port, Problem> {
    let mut fields = Fields::new(node, &PORT)?;
    let text = |n: &Node| n.text().map(str::to_string);
    let target = fields.read(&["target"], text);
    let published = fields.read(&["published"], text);
    let address = fields.read(&["host_ip"], text).unwrap_or_default();
    let protocol = fields.read(&["protocol"], text);
    let protocol = protocol.unwrap_or_else(|| "tcp".into());
    // Both modes publish the port on the one device that there is.
    fields.read(&["mode"], |n| match n.text()? {
        "host" | "ingress" => Ok(()),
        _ => Err(n.problem("must be host")),
    });
    fields.first()?;
    let Some(target) = target else {
        return Err(node.problem("`target` is missing: the port in the container"));
    };
    let Some(published) = published else {
        return Err(lone(node, &target, &protocol));
    };
    let colon = if address.is_empty() { "" } else { ":" };
    let brackets = address.contains(':');
    let bracketed = match brackets {
        true => format!("[{address}]"),
        false => address.clone(),
    };
    let text = format!("{bracketed}{colon}{published}:{target}/{protocol}");
    build(node, &text, &address, &published, &target, &protocol)
}

/// Returns the problem of a port without one of the device: docker would choose a free
/// one at every start, which nobody could connect to.
fn lone(node: &Node, container: &str, protocol: &str) -> Problem {
    let end = match protocol {
        "tcp" => String::new(),
        other => format!("/{other}"),
    };
    node.problem(format_args!(
        "{container:?} names no port of the device, which would be another one at every start: \
         write \"{container}:{container}{end}\""
    ))
}

fn build(
    node: &Node,
    text: &str,
    address: &str,
    host: &str,
    container: &str,
    protocol: &str,
) -> Result<Port, Problem> {
    accepted(node, "publish", text)?;
    let number = |text: &str| text.parse::<u16>().ok();
    let (first, last) = host.split_once('-').unwrap_or((host, host));
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Err(node.problem(format_args!("{text:?}: must be a port like 8080:80")));
    };
    let address = match address.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => String::new(),
    };
    Ok(Port {
        place: node.place,
        address,
        host: (first, last),
        container: container.into(),
        protocol: protocol.to_ascii_lowercase(),
    })
}

impl Port {
    /// Returns the text of `--publish`, always with its protocol.
    pub(crate) fn canonical(&self) -> String {
        let address = match &self.address {
            address if address.is_empty() => String::new(),
            address if address.contains(':') => format!("[{address}]:"),
            address => format!("{address}:"),
        };
        let host = match self.host {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        format!("{address}{host}:{}/{}", self.container, self.protocol)
    }

    fn meets(&self, other: &Self) -> bool {
        let all = |address: &str| ["", "0.0.0.0", "::"].contains(&address);
        let address = self.address == other.address || all(&self.address) || all(&other.address);
        let overlap = self.host.0 <= other.host.1 && other.host.0 <= self.host.1;
        address && overlap && self.protocol == other.protocol
    }

    /// Returns the first port that both publish.
    fn shared(&self, other: &Self) -> u16 {
        self.host.0.max(other.host.0)
    }

    /// Returns the warning about a port that a service of the device uses.
    pub(crate) fn warning(&self) -> Option<Problem> {
        let used = DEVICE_PORTS
            .iter()
            .find(|(port, _)| self.protocol == "tcp" && (self.host.0..=self.host.1).contains(port));
        let loopback = self
            .address
            .parse::<IpAddr>()
            .is_ok_and(|a| a.is_loopback());
        let (port, service) = used.filter(|_| !loopback)?;
        Some(Problem::new(
            self.place,
            format_args!("port {port} of the device is used by {service}"),
        ))
    }
}

/// Reads `expose`, in the form `PORT/PROTOCOL`.
pub(crate) fn exposed(node: &Node) -> Result<Vec<String>, Problem> {
    let mut ports = Vec::new();
    for entry in node.one_or_more()? {
        let text = option(entry, "expose")?;
        if text.contains(':') {
            return Err(entry.problem(format_args!(
                "{text:?}: `expose` takes a port of the container alone; publish with `ports`"
            )));
        }
        let port = match text.contains('/') {
            true => text,
            false => format!("{text}/tcp"),
        };
        super::scalar::push_new(&mut ports, entry, port)?;
    }
    Ok(ports)
}
