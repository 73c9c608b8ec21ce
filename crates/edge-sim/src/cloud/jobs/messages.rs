//! Messages, requests and responses of the engine.

use serde_json::Value;

/// Message that the cloud publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Topic of the message.
    pub topic: String,
    /// Payload of the message.
    pub payload: Value,
}

/// Result of an event: the answer to the device that asked, and messages for whoever
/// subscribed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Answer to the request; `None` if the topic is not that of a request.
    pub answer: Option<Publication>,
    /// Notifications, in their order.
    pub notifications: Vec<Publication>,
}

/// HTTPS request to the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Method, for example `PUT`.
    pub method: String,
    /// Decoded path, for example `/jobs/j1`.
    pub path: String,
    /// Decoded parameters of the query.
    pub query: Vec<(String, String)>,
    /// Body of the request.
    pub body: Vec<u8>,
}

/// Response of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Type of the error, for the header `x-amzn-ErrorType`.
    pub error: Option<&'static str>,
    /// Body of the response.
    pub body: Value,
}
