//! Faults that a script of the endpoint produces.

/// Row of the table.
pub struct Case {
    pub name: &'static str,
    /// Script of the endpoint; see `edge_sim::endpoint::fault`.
    pub faults: &'static [&'static str],
    /// Exit code of the first run.
    pub code: i32,
    /// Part of the output of the first run.
    pub message: &'static str,
    /// Certificates requested until the device is provisioned; 0: not checked.
    pub creates: usize,
}

pub const fn case(
    name: &'static str,
    faults: &'static [&'static str],
    code: i32,
    message: &'static str,
    creates: usize,
) -> Case {
    Case {
        name,
        faults,
        code,
        message,
        creates,
    }
}

pub const CASES: &[Case] = &[
    case("no fault", &[], 0, "provisioned as", 1),
    case(
        "certificate rejected",
        &["create:refused"],
        6,
        "AccessDenied (403)",
        2,
    ),
    case(
        "thing rejected",
        &["register:refused"],
        6,
        "AccessDenied (403)",
        1,
    ),
    case(
        "throttled twice",
        &["create:throttled*2"],
        0,
        "Rate exceeded",
        3,
    ),
    case(
        "internal error once",
        &["register:broken*1"],
        0,
        "Internal error",
        1,
    ),
    case("silent once", &["create:silent*1"], 0, "no answer on", 1),
    case("silent", &["register:silent"], 5, "no answer on", 1),
    case(
        "late, 3 s",
        &["create:late=3000*1", "register:late=3000*1"],
        0,
        "provisioned as",
        1,
    ),
    case(
        "late, after the time limit",
        &["register:late=12000*1"],
        0,
        "no answer on",
        1,
    ),
    case(
        "dropped after the first answer",
        &["create:cut*1"],
        0,
        "trying again",
        1,
    ),
    case(
        "dropped before any answer",
        &["create:dropped*1"],
        0,
        "connection was lost",
        1,
    ),
    case(
        "registered, answer lost",
        &["register:lost*1"],
        0,
        "connection was lost",
        1,
    ),
    case(
        "duplicate",
        &["create:twice", "register:twice"],
        0,
        "provisioned as",
        1,
    ),
    case(
        "malformed once",
        &["create:malformed*1"],
        0,
        "is not JSON",
        2,
    ),
    case("malformed", &["register:malformed"], 5, "is not JSON", 1),
    case(
        "oversized once",
        &["create:oversized*1"],
        0,
        "no answer on",
        2,
    ),
    case(
        "incomplete",
        &["create:incomplete"],
        5,
        "has no certificatePem",
        0,
    ),
    case(
        "certificate of another key",
        &["create:other-key"],
        5,
        "for another key",
        0,
    ),
    case(
        "expired certificate",
        &["create:over"],
        5,
        "certificate has expired",
        0,
    ),
    case(
        "another thing's name",
        &["register:other-thing"],
        5,
        "instead of edge-ai-",
        1,
    ),
    case(
        "token expired",
        &["register:expired*1"],
        0,
        "provisioned as",
        2,
    ),
    case(
        "connection rejected by the broker",
        &["connect:refused"],
        6,
        "rejected the connection",
        1,
    ),
    case(
        "broker silent",
        &["connect:silent"],
        5,
        "connecting to localhost",
        1,
    ),
    case(
        "broker drops once",
        &["connect:dropped*1"],
        0,
        "connecting to localhost",
        1,
    ),
];
