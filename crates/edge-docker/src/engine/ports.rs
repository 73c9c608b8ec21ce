//! Owner of a port of the device that a container cannot get.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::label;
use edge_common::log::printable;
use hyper::Method;
use serde_json::Value;

use super::client;
use super::error::EngineError;

/// Adds to the error of a start which app has a port that the container `id` publishes.
pub(super) async fn explain(root: &Root, id: &str, error: anyhow::Error) -> anyhow::Error {
    // The text only decides on the explanation: it differs between versions.
    let is_about_ports = matches!(
        error.downcast_ref(),
        Some(EngineError::Response { message, .. })
            if message.contains("already allocated") || message.contains("address already in use")
    );
    if !is_about_ports {
        return error;
    }
    match owners(root, id).await {
        Ok(owners) if !owners.is_empty() => {
            let owners = owners.join(", ");
            error.context(format!(
                "{owners}: stop it, or choose another port in app.yaml"
            ))
        }
        _ => error.context(
            "a port is taken by a program of the device that is no container: choose another one \
             in app.yaml",
        ),
    }
}

/// Returns the ports that the container publishes and others have, with their owners.
async fn owners(root: &Root, id: &str) -> Result<Vec<String>> {
    let path = format!("/containers/{id}/json");
    let own = client::request(root, Method::GET, &path, None).await?;
    let mut wanted = Vec::new();
    let bindings = own["HostConfig"]["PortBindings"].as_object();
    for (port, bindings) in bindings.into_iter().flatten() {
        let protocol = port.split('/').nth(1).unwrap_or("tcp");
        for binding in bindings.as_array().into_iter().flatten() {
            let host = binding["HostPort"].as_str().and_then(|p| p.parse().ok());
            wanted.extend(host.map(|host: u64| (host, protocol.to_string())));
        }
    }
    let others = client::request(root, Method::GET, "/containers/json", None).await?;
    let mut owners = Vec::new();
    for other in others.as_array().into_iter().flatten() {
        if other["Id"] == id {
            continue;
        }
        for port in other["Ports"].as_array().into_iter().flatten() {
            let taken = (
                port["PublicPort"].as_u64().unwrap_or(0),
                port["Type"].as_str().unwrap_or("tcp").to_string(),
            );
            let text = format!("port {} is taken by {}", taken.0, owner(other));
            if wanted.contains(&taken) && !owners.contains(&text) {
                owners.push(text);
            }
        }
    }
    Ok(owners)
}

/// Returns the name of a container, and its app if that has another one.
fn owner(container: &Value) -> String {
    let name = container["Names"][0].as_str().unwrap_or_default();
    let name = name.trim_start_matches('/');
    let labels = &container["Labels"];
    let app = [label::SANDBOX, label::APP]
        .into_iter()
        .filter_map(|key| labels[key].as_str())
        .find(|app| !app.is_empty());
    match app {
        Some(app) if app != name => printable(&format!("{name} (app {app})")),
        _ => printable(name),
    }
}
